#!/bin/sh
# All that is to be run where there is a GPU, in one go: a line for each check at the end, the output of each in a folder.
#
#     sh benchmarks/gpu_checks.sh [--device cuda] [--out gpu-checks] [--only tests,bench] [--list]
#
# It needs torch with a GPU and Triton; the tests also pytest, transformers and gguf. No compiled core, no server, no network.
# HERON_TEST_DEVICE puts the tests' models on the device, and Triton's kernels, compiled for it, beside their references.
set -u
cd "$(dirname "$0")/.." || exit 2

device=cuda out=gpu-checks only=tests,engine,bench,command list=
while [ $# -gt 0 ]; do
    case $1 in
        --device) device=$2; shift ;;
        --out) out=$2; shift ;;
        --only) only=$2; shift ;;
        --list) list=yes ;;
        *) echo "$1 is no option; see the head of this file" >&2; exit 2 ;;
    esac
    shift
done
python=${PYTHON:-python3}
export PYTHONPATH=. PYTHONUNBUFFERED=1 HERON_TEST_DEVICE="$device"
failed=0 summary=
[ "$list" ] || mkdir -p "$out"

# check GROUP NAME COMMAND...: run it if its group is asked for.
check() {
    group=$1 name=$2
    shift 2
    case ",$only," in *",$group,"*) ;; *) return 0 ;; esac
    if [ "$list" ]; then echo "$group: $name: $*"; return 0; fi
    echo "== $name"
    if "$@" >"$out/$name.log" 2>&1; then result=passed; else result=FAILED failed=1; fi
    tail -n 3 "$out/$name.log"
    summary="$summary
$result  $name ($out/$name.log)"
}

tested() {
    group=$1 name=$2
    shift 2
    check "$group" "$name" "$python" -m pytest -q -p no:cacheprovider "$@"
}

check tests torch "$python" -c 'import sys, torch, triton; d = torch.device(sys.argv[1]); print(torch.__version__, triton.__version__, torch.ones(2, device=d).sum())' "$device"
tested tests kernels tests/backends -k 'triton and not compiles'
tested tests torch-backend tests/backends/test_torch.py tests/backends/test_torch_capture.py tests/backends/test_torch_recurrent.py tests/backends/test_torch_sampling.py
tested tests formats tests/backends/test_backend_formats.py -k torch
tested tests divided tests/backends/test_pipeline.py tests/engine/test_divided.py
tested tests families tests/backends/test_backend_families.py tests/models -k torch
tested engine engine tests/engine/test_engine.py tests/engine/test_overlap.py -k 'torch or overlap'
check bench table "$python" benchmarks/gpu.py --device "$device" --json "$out/table.json"
check command command "$python" -m heron bench --device "$device" --prompt 512 --generate 64 --batch 1,16 --json

[ "$list" ] && exit 0
echo "$summary"
exit $failed

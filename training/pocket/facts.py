"""What the pocket model knows of `heron run`, Python, errors and Heron itself. Patterns as fact.py has them."""
# ruff: noqa: E501  (one pattern, one line)

from __future__ import annotations

from fact import Fact

COMMANDS = (
    Fact(
        "`heron run MODEL` loads a GGUF file or a folder of safetensors and streams an answer.",
        'heron run model.gguf -p "Hello"',
        names=("heron run", "heron run MODEL", "run"),
        do=(
            "[run|start|launch|load|use|try|execute|open] [a|my|the|this|some] [model|gguf|gguf file|GGUF model|model file|checkpoint|llm|language model]",
            "[run|start|use|try|load] a [.gguf|gguf] [file|model] [from disk|I downloaded|that I have|on my machine|locally|]",
            "[run|use|load|start] [llama|mistral|qwen|gemma|model].gguf",
            "[generate|get|make|produce|stream] [some text|text|an answer] [from|with] a [model|gguf|checkpoint]",
            "[talk to|ask|query|test|use] [my own|another|a bigger|a larger|a different|a real|a local] model",
            "[switch|change] [to another|to a different|the] model",
            "[choose|pick|select|give it|tell it|specify] [the|a|which] model [file|to use|]",
        ),
        about=("[the|a] model [argument|file|path]", "the run command", "running a [model|gguf]", "local [models|inference]"),
        ask=(
            "I have [a|this] gguf [file|], [what do I do with it|what now|how do I start|how to use it]",
            "I [downloaded|got|found] a model, [what now|how do I run it|what is the command]",
            "where do I put the [model|gguf|file] [name|path]",
            "which command [runs|starts|loads] a model",
        ),
    ),
    Fact(
        "Give `heron run` the folder that holds `config.json` and the safetensors files.",
        'heron run ./my-model -p "Hello"',
        do=(
            "[run|use|load|open|start] a [huggingface|hugging face|HF|transformers|safetensors] [folder|model|directory|checkpoint|repo]",
            "[run|use|load|open] [a folder|a directory] [of|with|full of] [safetensors|.safetensors files|sharded weights]",
            "[run|use] [a|my] [finetuned|fine-tuned|downloaded] [transformers|huggingface] model",
        ),
        about=("[a|the] folder of safetensors", "a model [folder|directory]", "hugging face [models|folders|checkpoints]"),
        ask=(
            "[can|does] heron [run|read|load|open] [a|an] [folder|HF folder|safetensors folder|hugging face folder|model directory]",
            "my model is a [folder|directory] [and not a file|with several shards|with a config.json]",
            "do I have to convert [safetensors|my hf model] [to gguf|first]",
        ),
    ),
    Fact(
        "Without a model, `heron run` uses the pocket model that ships with Heron: me.",
        'heron run -p "What can you do?"',
        do=("[use|run|start] the [pocket|default|built-in|bundled|included|shipped] model", "[run|start] heron without [a|any] model"),
        about=("the [default|built-in|bundled|pocket|included] model", "the model that ships with heron"),
        ask=(
            "[which|what] model is [the default|used by default|run by default|built in|included]",
            "what [if|when|happens when] I [give|pass|specify|name|have] no model",
            "do I need to [download|have|get] a model [first|to start|]",
            "can I [try|use] heron without [a|downloading a] model",
            "heron run with no [arguments|model|file]",
        ),
    ),
    Fact(
        "`make run` sets everything up: it makes an environment, installs Heron and streams a first answer from the pocket model.",
        names=("make run", "make"),
        do=(
            "[install|set up|setup|build|compile|get] heron",
            "[get started|begin|start from scratch|start for the first time|bootstrap]",
            "[install|build] [it|this|everything] from [source|the repository|git|a clone]",
            "[compile|build] [the|its] [core|c++ core|code|native core]",
        ),
        about=("[the|] installation", "[the|] setup", "[installing|building] heron", "the first [steps|run]", "getting started"),
        ask=(
            "[what|which] [is the|] command [installs|to install|sets up] [heron|everything]",
            "I am new [here|to heron], [where do I start|what first|what do I type]",
            "I [cloned|checked out|downloaded] [heron|the repository|the source], what [next|do I do|now]",
            "is [heron|it] [hard|easy|difficult] to install",
        ),
    ),
    Fact(
        "`make test` installs the development extra and runs the tests.",
        names=("make test", "pytest"),
        do=(
            "[run|start|execute|launch] [the|heron's|all|all the] [tests|test suite|checks|pytest]",
            "[test|check|verify|validate] [heron|my changes|the code|my patch|that it works|the build]",
        ),
        about=("the [tests|test suite]", "running the tests", "testing heron"),
        ask=(
            "[what|which] command runs the [tests|test suite]",
            "are there [any|] tests",
            "I [changed|patched|edited] heron's code, how do I [test|check] it",
        ),
    ),
    Fact(
        "`heron --help` lists the commands, and `heron COMMAND --help` every option of one, with examples.",
        names=("--help", "help", "-h"),
        do=(
            "[see|list|show|get|print|find|read] [all|all the|the|every] [options|flags|commands|switches|parameters|settings|help|help text|usage|manual]",
            "[find out|learn|know|see] [what|which] [options|flags|commands] [there are|exist|I can use]",
        ),
        about=(
            "[all|the full list of] [options|flags|commands|arguments]",
            "[help|the manual|documentation|usage] of heron",
            "the command line",
        ),
        ask=(
            "what [commands|options|flags|arguments] [are there|exist|does heron have|does heron run take]",
            "I [am|feel] lost",
            "[where|is there] [is|] [the|a] [manual|documentation|help|man page]",
            "[which|what] [flags|options] can I [use|pass|give]",
        ),
    ),
)

OPTIONS = (
    Fact(
        "`heron run -p TEXT` (or `--prompt`) gives the prompt on the command line.",
        'heron run -p "Tell me about threads"',
        names=("-p", "--prompt", "heron run -p"),
        do=(
            "[give|pass|send|write|supply|provide|enter|type|set|specify] [a|the|my] [prompt|question|input|message|text] [on the command line|from the command line|as an argument|in the command|directly|inline|]",
            "ask [a|one|a single] question [on the command line|from the shell|in one command|without chatting|and quit|]",
            "prompt [the model|it|heron]",
        ),
        about=("the prompt [flag|option|argument]", "the prompt", "a prompt on the command line", "a one-shot question"),
        ask=("where does [the|my] [prompt|question] go", "where do I [put|write|type] [the|my] [prompt|question|text]"),
    ),
    Fact(
        "`heron run -f FILE` (or `--file`) reads the prompt from a file.",
        "heron run -f prompt.txt",
        names=("-f", "--file", "heron run -f"),
        do=(
            "[read|load|take|get|use|pass|send|give] [the|my|a] [prompt|question|input|text|long prompt] [from|in|out of|stored in] [a file|a text file|a txt file|a document|prompt.txt|disk]",
            "[use|feed|pass|give it|send] [a file|a text file|a txt file|a document|the contents of a file] as [the|] [prompt|input]",
            "[summarise|answer|continue] [a text file|a document|the text in a file]",
        ),
        about=("a prompt [file|in a file|from a file]", "[file|text file] input", "a [very|] long prompt"),
        ask=(
            "my [prompt|question|text] is [too long for the command line|in a file|in a text file|saved on disk]",
            "can [the|my] prompt [be|come from|live in] a file",
            "which flag [reads|takes] a [prompt|text] file",
        ),
    ),
    Fact(
        "`heron run` takes a pipe on stdin as the prompt.",
        "cat notes.txt | heron run model.gguf",
        names=("stdin", "standard input"),
        do=(
            "[pipe|stream|redirect|send|feed] [text|input|a prompt|something|data|a file|a log|the output of a command] [into|to] [heron|heron run|it|the model]",
            "[use|read] [heron|heron run|it] [in|from] a [pipe|pipeline|shell pipeline]",
            "[use|read from|take input from|give the prompt on] [stdin|standard input|a pipe]",
        ),
        about=("[stdin|standard input|pipes|piping]", "[shell pipes|a pipeline]", "redirected input"),
        ask=(
            "[does|can|will] [heron|it|heron run] [read|accept|take] [from|] [stdin|standard input|a pipe|pipes|piped input]",
            "[do|can] I echo [text|a question] into heron run",
        ),
    ),
    Fact(
        "`heron run -n N` (or `--max-tokens`) ends the answer after N tokens; -1 lets it go on until the context is full.",
        'heron run -n 100 -p "Hello"',
        names=("-n", "--max-tokens", "max_tokens", "max tokens", "heron run -n"),
        do=(
            "[limit|cap|bound|restrict|set|control|change|reduce] [the|] [length|size|number of tokens|token count|amount of text] [of the|of an|in the] [answer|output|reply|response|generation]",
            "[limit|restrict|cap|set] [the|] [answer|output|reply|response|generation|text|number of tokens] [to|at] [50|100|200|20|N|a few|so many] [tokens|words]",
            "[generate|get|write|produce|make] [only|at most|exactly|no more than|up to|just] [50|100|200|500|N|a few] tokens",
            "[get|make|have] [a shorter|shorter|a longer|longer|short|brief|long] [answers|answer|replies|reply|output|outputs|responses]",
            "[stop|end|finish] [after|at] [50|100|200|N|a number of|so many] tokens",
            "[make|keep] [it|the answer|the reply|the output] [short|shorter|brief|longer|within a budget]",
        ),
        about=(
            "[the|a] [maximum|max|largest] [length|number of tokens|output length|answer length|new tokens]",
            "[a|the] token [limit|budget]",
            "[the|] answer length",
            "n predict",
            "the length of the answer",
        ),
        ask=(
            "[the|its|your|my] [answer|answers|output|reply|replies] [is|are|gets] [too long|too short|cut off|endless]",
            "it [never stops|does not stop|talks too much|writes too much|goes on forever]",
            "how many tokens [will it|does it|can it] [generate|write]",
            "[how many|the number of] new tokens",
        ),
    ),
    Fact(
        "`heron run -c N` (or `--ctx-size`) sets the context to N tokens: prompt and answer have to fit in it.",
        "heron run model.gguf -c 8192",
        names=("-c", "--ctx-size", "ctx_size", "n_ctx", "heron run -c"),
        do=(
            "[set|change|increase|raise|enlarge|extend|grow|reduce|shrink|lower|choose|limit|control] [the|] [context|context size|context length|context window|window|ctx|kv cache]",
            "[use|have|get] a [larger|bigger|longer|smaller|shorter|8k|4096 token|long] [context|context window|window]",
            "[fit|use|handle|process|feed] [a longer|a very long|a bigger|more of my] [prompt|conversation|document|history]",
            "[make|let] it remember [more|a longer conversation|more of the chat|earlier messages]",
            "[save|use less|spend less|reduce] [memory|ram] [for the cache|with a smaller context|]",
        ),
        about=(
            "[the|] context [size|length|window]",
            "the [size|length] of the [context|window|kv cache]",
            "a [long|big|large|small] context",
        ),
        ask=(
            "how [big|large|long] is the [context|context window|window]",
            "how many tokens [fit|can it remember|does the context hold]",
            "it forgets [what I said|the beginning|earlier messages|things]",
            "it [uses|needs|takes] too much [memory|ram]",
        ),
    ),
    Fact(
        "The context is full: raise it with `heron run -c N`, or shorten the prompt. The prompt and the answer have to fit in it.",
        "heron run model.gguf -c 8192",
        do=(
            "[fix|solve|avoid|get around|handle] [the|a] [full context|context is full|context full|prompt too long|context overflow] [error|message|problem|]",
        ),
        about=("[the|a] full context", "[the|] [context full|prompt too long|context overflow] error"),
        ask=(
            "[the|my|it says the|it says my|error:|] [context|context window] [is|was|got] [full|exceeded|too small|used up]",
            "[the|my] prompt [is too long|does not fit|is longer than the context|has too many tokens]",
            "it [says|complains|prints] that the [prompt is too long|context is full|prompt has too many tokens]",
        ),
    ),
    Fact(
        "`heron run -c 0` means the model's own context, reduced to fit in memory; the size is printed.",
        "heron run model.gguf -c 0",
        names=("-c 0", "--ctx-size 0", "ctx_size=0"),
        do=(
            "[use|get|have] the [model's own|full|whole|native|original|largest possible|maximum|biggest] context [of the model|size|length|]",
            "[set|put] the context [size|] to [0|zero]",
        ),
        about=("[a|] context [of|size|size of] [0|zero]", "the model's own context"),
        ask=(
            "what [does|is|happens with] [a|] context [size|length|] [of|=|] [0|zero] [mean|do|]",
            "what does [0|zero] mean for the context",
        ),
    ),
    Fact(
        "`heron run -t X` (or `--temperature`) sets the temperature: low is sober and steady, high is varied and creative.",
        'heron run -t 0.7 -p "Hello"',
        names=("-t", "--temperature", "--temp", "heron run -t", "temp"),
        do=(
            "[set|change|raise|lower|increase|reduce|control|adjust|choose|turn up|turn down] [the|] [temperature|temp|creativity|sampling temperature|randomness|heat]",
            "[make|get|have] [it|the model|the output|answers|the answers] [more|less|a bit more|much more] [creative|random|varied|boring|predictable|wild|conservative|sober|surprising|focused|diverse|chaotic|imaginative]",
            "[get|have] [more|less] [creativity|randomness|variety|variation|surprise|diversity]",
        ),
        about=("[the|] [temperature|temp|creativity|randomness]", "[the|] sampling temperature", "the creativity of the answers"),
        ask=(
            "[the|its|your] [answers|output|replies|text|sentences] [is|are] [too|very|so] [random|wild|boring|dull|predictable|crazy|creative|weird|dry|flat|chaotic|nonsensical]",
            "what temperature [should I use|is good|do I need]",
            "it is [too|not] [creative|random]",
        ),
    ),
    Fact(
        "`heron run -t 0` is greedy: it always takes the most likely token, so nothing is random.",
        'heron run -t 0 -p "Hello"',
        names=("-t 0", "--temperature 0", "temperature 0", "temperature=0", "temp 0"),
        do=(
            "[use|do|get|turn on|switch on|enable|have] [greedy|argmax] [decoding|sampling|search|output|generation|mode]",
            "[turn off|switch off|disable|avoid|remove|stop] [the|all|] [randomness|sampling|random sampling|chance]",
            "[always|] [take|pick|choose|get] the [most likely|most probable|best|top|likeliest|highest probability] [token|word|next token]",
            "[make|have] [it|the output|the model] [deterministic|fully deterministic|greedy|not random at all]",
        ),
        about=(
            "greedy [decoding|sampling|search|mode]",
            "argmax [sampling|decoding]",
            "deterministic [decoding|output|answers]",
            "a temperature of [0|zero]",
        ),
        ask=("what does [a|] temperature [of|=|] [0|zero] [do|mean]", "I want no randomness [at all|]"),
    ),
    Fact(
        "`heron run --top-k N` samples only from the N most likely tokens.",
        'heron run --top-k 40 -p "Hello"',
        names=("--top-k", "top-k", "top k", "top_k", "topk", "heron run --top-k"),
        do=(
            "[limit|restrict|cut|narrow] [sampling|the choice|the candidates|the tokens|it] to the [N|40|k|few|top|50|10|20] [best|most likely|most probable|likeliest|top|first] [tokens|candidates|words|choices]",
            "[keep|sample from|choose from|consider|pick from|allow] [only|just] the [N|40|k|few|50|10|top] [best|most likely|most probable|likeliest|first|] [tokens|candidates|words]",
            "[use|set|turn on|change|enable] top[-|_| |]k [sampling|]",
        ),
        about=("top[-|_| |]k [sampling|filtering|]", "the number of [candidates|candidate tokens] [considered|to sample from|]"),
        ask=("how many [candidates|tokens] are [considered|sampled from|candidates]",),
    ),
    Fact(
        "`heron run --top-p X` is nucleus sampling: it keeps the fewest tokens whose probabilities add up to X.",
        'heron run --top-p 0.9 -p "Hello"',
        names=("--top-p", "top-p", "top p", "top_p", "topp", "heron run --top-p"),
        do=(
            "[use|do|set|turn on|change|enable|get|control|tune] nucleus [sampling|filtering]",
            "[use|set|turn on|change|enable] top[-|_| |]p [sampling|]",
            "[keep|sample from|choose from] [the|] [tokens|candidates] [that add up to|whose probabilities sum to|covering|up to a total probability of] [90%|0.9|95%|a probability]",
            "[cut|drop|remove] the [tail|unlikely tail|last 10%] [of the distribution|of the probabilities|]",
        ),
        about=(
            "nucleus sampling",
            "[the|] nucleus",
            "top[-|_| |]p [sampling|filtering|]",
            "[cumulative|summed|total] probability [cutoff|sampling|mass]",
        ),
        ask=("which [option|flag] is [nucleus|for nucleus] sampling",),
    ),
    Fact(
        "`heron run --min-p X` drops tokens less likely than X times the best one.",
        'heron run --min-p 0.05 -p "Hello"',
        names=("--min-p", "min-p", "min p", "min_p", "minp", "heron run --min-p"),
        do=(
            "[use|set|turn on|change|enable] min[-|_| |]p [sampling|]",
            "[drop|remove|discard|filter out|ignore|exclude|cut] [tokens|words|candidates|all tokens|everything] [much less likely than the best|below a fraction of the best|that are very unlikely|that are unlikely compared to the top one|under a minimum probability]",
            "[set|use] a minimum [probability|likelihood] [for tokens|relative to the best token|]",
        ),
        about=("min[-|_| |]p [sampling|filtering|]", "[a|the] minimum [probability|likelihood] [of tokens|]"),
    ),
    Fact(
        "`heron run --typical-p X` is locally typical sampling: it keeps tokens about as surprising as expected.",
        'heron run --typical-p 0.95 -p "Hello"',
        names=("--typical-p", "typical-p", "typical p", "typical_p", "heron run --typical-p"),
        do=(
            "[use|do|set|turn on|change|enable|get] [locally|local|] typical [sampling|filtering|p]",
            "[keep|sample] only [typical|locally typical] tokens",
        ),
        about=("[locally|local|] typical [sampling|decoding|p]", "the typical [option|sampler]"),
        ask=("which [option|flag] is [for|] [locally|] typical sampling",),
    ),
    Fact(
        "`heron run --repeat-penalty X` makes tokens that were just used less likely; above 1 it repeats itself less.",
        'heron run --repeat-penalty 1.1 -p "Hello"',
        names=(
            "--repeat-penalty",
            "repeat-penalty",
            "repeat penalty",
            "repeat_penalty",
            "repetition penalty",
            "repetition_penalty",
            "heron run --repeat-penalty",
        ),
        do=(
            "[stop|prevent|keep|avoid|reduce] [it|the model|the output|heron] [from|] [repeating|looping|saying the same thing|repeating itself|going in circles|getting stuck in a loop]",
            "[avoid|stop|reduce|prevent|fight|get rid of] [repetition|repetitions|loops|repeats|repeated text|repeated sentences|duplicated lines|the same words]",
            "[penalise|penalize|punish|discourage] [repetition|repetitions|repeats|repeated tokens|repeating]",
            "[set|use|change|raise] the [repeat|repetition] penalty",
        ),
        about=("[the|a] [repeat|repetition] penalty", "repetition", "repetitions", "[endless|] loops in the [text|output]"),
        ask=(
            "[it|the model|the answer|heron] [repeats|keeps repeating|is repeating|loops|is looping|goes round and round|is stuck in a loop|repeats itself] [itself|the same|all the time|]",
            "it [says|writes|prints] the same [thing|word|sentence|line|phrase] [again and again|over and over|many times|twice|all the time]",
            "why does it [repeat itself|loop]",
            "the same [words|line|sentence] again and again",
        ),
    ),
    Fact(
        "`heron run --repeat-last-n N` says how many of the last tokens the repeat penalty looks at.",
        "heron run --repeat-last-n 64 --repeat-penalty 1.1",
        names=("--repeat-last-n", "repeat-last-n", "repeat last n", "repeat_last_n", "heron run --repeat-last-n"),
        do=(
            "[set|change|control|choose|limit|extend] [the window of the repeat penalty|how many tokens the repeat penalty sees|the range of the repeat penalty|how far back the repeat penalty looks|the penalty window|how far back repeats count]",
            "[look|make the penalty look] [further back|back over more tokens] for [repeats|repetitions]",
        ),
        about=(
            "the [window|range|reach|span|length] of the [repeat penalty|repetition penalty|penalty|penalties]",
            "the [last n|last tokens] [for the penalty|that are penalised]",
        ),
        ask=(
            "how [many|much] [tokens|of the last tokens|of the text|past tokens] [does|do] the [repeat|repetition] penalty [look at|see|cover|use|check|remember]",
            "how far [back|] does the [repeat|repetition] penalty [look|go|reach]",
            "over how many tokens [is repetition|are repeats] [penalised|counted|checked]",
        ),
    ),
    Fact(
        "`heron run --frequency-penalty X` lowers a token's chance by X for each time it was used already.",
        'heron run --frequency-penalty 0.5 -p "Hello"',
        names=(
            "--frequency-penalty",
            "frequency-penalty",
            "frequency penalty",
            "frequency_penalty",
            "freq penalty",
            "heron run --frequency-penalty",
        ),
        do=(
            "[set|use|change|raise|apply] [the|a] [frequency|freq] penalty",
            "[penalise|penalize|punish|discourage] [tokens|words] [by|for|depending on] [how often they appear|their count|how many times they were used|each use|their frequency|frequency|the number of times they occur]",
            "[penalise|penalize|discourage|avoid] [frequent|often used|common|overused] [tokens|words]",
        ),
        about=("[the|a] [frequency|freq] penalty", "a penalty [by|that grows with] [count|frequency|the number of uses]"),
    ),
    Fact(
        "`heron run --presence-penalty X` lowers a token's chance by X once it was used at all, so new subjects come up.",
        'heron run --presence-penalty 0.5 -p "Hello"',
        names=("--presence-penalty", "presence-penalty", "presence penalty", "presence_penalty", "heron run --presence-penalty"),
        do=(
            "[set|use|change|raise|apply] [the|a] presence penalty",
            "[penalise|penalize|punish|discourage] [tokens|words] [that appeared|that were used already|once they were used|already present|that occur at all|just for being there|present in the text]",
            "[make it|get it to|encourage it to] [talk about|bring up|move on to|find|introduce] [new|other|different|fresh] [topics|subjects|words|things|ideas]",
        ),
        about=("[the|a] presence penalty", "a penalty for [presence|being present|words already used]"),
        ask=("it [stays on|sticks to|never leaves] the same [subject|topic]",),
    ),
    Fact(
        "`heron run --mirostat N` (1 or 2) holds the text's surprise at a steady level while it samples; 0 is off.",
        'heron run --mirostat 2 -p "Hello"',
        names=("--mirostat", "mirostat", "mirostat 1", "mirostat 2", "mirostat v2", "heron run --mirostat"),
        do=(
            "[use|turn on|enable|set|switch on|choose|try|disable] mirostat [sampling|version 2|v1|v2|2|]",
            "[keep|hold|make] the [surprise|perplexity|entropy] [constant|steady|level|stable|under control|at a target]",
            "[control|target] [the perplexity|the surprise|entropy|perplexity]",
        ),
        about=("mirostat [sampling|mode|v2|]", "[perplexity|entropy] control", "constant [perplexity|surprise]"),
    ),
    Fact(
        "`heron run --seed N` fixes the random numbers: the same seed gives the same text again.",
        'heron run --seed 7 -p "Hello"',
        names=("--seed", "seed", "heron run --seed"),
        do=(
            "[set|choose|pick|give|change|use|specify|fix] [the|a|my] [random|rng|sampling|] seed",
            "[get|have|obtain|produce|receive] [the same|an identical|a repeatable|a reproducible|exactly the same] [answer|output|text|result|reply] [twice|again|each time|every time|every run|on each run]",
            "[make|keep|get] [it|the output|results|answers|runs|sampling|generation] [reproducible|repeatable|identical|stable between runs|the same every time]",
            "[reproduce|repeat|replay] [an answer|a result|a run|a generation|my results|the same text]",
            "[fix|seed|control] the [random numbers|rng|random generator|dice]",
        ),
        about=(
            "[the|a|] [random|rng|sampling|] seed",
            "reproducible [output|results|sampling|text|runs]",
            "[repeatability|reproducibility]",
            "the random [numbers|generator]",
        ),
        ask=(
            "[the|my] [answer|output|text|result] [is different|changes|differs|varies] [every time|each time|each run|on every run|between runs]",
            "why do I get [a different|another] [answer|text|output] [every time|each time]",
            "same prompt, different [answers|output]",
        ),
    ),
    Fact(
        "`heron run --stop TEXT` ends the answer where TEXT comes up.",
        'heron run --stop "END" -p "Hello"',
        names=("--stop", "stop string", "stop sequence", "stop word", "heron run --stop"),
        do=(
            "[stop|end|finish|halt|cut|terminate] [the answer|generation|the output|it|the text|the reply] [at|when it writes|when it says|on|before|as it reaches|if it prints] [a word|a string|a newline|a phrase|a certain word|a keyword|some text|END|a marker|a sequence]",
            "[set|use|add|give|define|specify|pass] [a|the|some|several] [stop|stopping|end] [string|strings|sequence|sequences|word|words|token|text|marker|phrase]",
        ),
        about=(
            "[stop|stopping] [strings|words|sequences|text|tokens]",
            "[a|the] stop [string|word|sequence|text|marker|phrase]",
            "an end marker",
        ),
        ask=("it should [stop|end|finish] [at|when it reaches|when it prints|on] [a word|a string|a newline|a marker|the word END]",),
    ),
    Fact(
        "`heron run --threads N` uses N CPU threads.",
        "heron run model.gguf --threads 4",
        names=("--threads", "threads", "heron run --threads"),
        do=(
            "[set|change|limit|choose|control|raise|reduce|increase|lower] [the|] [number of|count of|] [threads|cores|cpus|cpu cores|processors|workers]",
            "[use|run on|run with|take|occupy] [all|only|just|two|four|4|8|fewer|more|all my|half of my|one|several] [threads|cores|cpus|processors|cpu cores]",
            "[make|get] [it|heron|the model|generation] [faster|go faster|quicker|run faster]",
            "speed [it|heron|the model|generation] up",
            "[leave|keep] [some|a] [core|cores|cpu] [free|for other programs]",
        ),
        about=("[the number of|] threads", "[the number of|] [cores|cpus|cpu cores]", "multithreading", "parallel threads", "cpu usage"),
        ask=(
            "[it|heron|the model|generation] is [too slow|slow|very slow|so slow|taking ages]",
            "why is [it|heron] [so|] slow",
            "how many [threads|cores] does [it|heron] use",
            "it [uses|takes|eats] [all my|all the|too many|too much|only one] [cores|cpu|core|processors]",
        ),
    ),
    Fact(
        "`heron run --backend torch` (and `heron serve`) has torch compute; `native` is the C++ core, `reference` plain numpy, `auto` chooses.",
        "heron run model.gguf --backend torch",
        names=("--backend", "backend", "native", "reference", "heron run --backend", "native backend", "reference backend"),
        do=(
            "[choose|pick|select|change|set|switch|specify] [the|a|another] [backend|executor|engine backend|compute backend]",
            "[use|run on|switch to|try|compare with|select] the [native|reference|numpy|C++|slow|fast|python] [backend|implementation|executor|core|kernels]",
            "[run|compute|execute] [with|in|on] [numpy|plain python|the C++ core|the native core]",
        ),
        about=("[the|] [backend|backends|executor|executors]", "the [native|reference|numpy] backend", "the choice of [backend|backends]"),
        ask=("[which|what] backends [are there|does heron have|can I choose|are available]",),
    ),
    Fact(
        "`heron run --system TEXT` sets the system prompt.",
        'heron run model.gguf --system "Answer briefly."',
        names=("--system", "system prompt", "heron run --system"),
        do=(
            "[set|give|write|use|change|add|pass|specify|provide] [a|the|my|my own] [system prompt|system message|system text|instruction|persona|role|character|personality]",
            "[give|assign] [it|the model] [a|some] [role|persona|character|personality|instructions|rules|standing orders]",
            "[tell|instruct] [it|the model] [how to behave|to be polite|to answer briefly|to answer in French|to act as a teacher|what role to play|to be a pirate|to follow rules]",
            "make [it|the model] [behave like|act like|act as|play|talk like|sound like] [a teacher|a poet|an expert|a robot|a king|someone|a lawyer|an assistant]",
        ),
        about=(
            "[the|a] system [prompt|message|text|instruction]",
            "[a|the] [persona|role] [of the model|for the model|]",
            "custom instructions",
        ),
        ask=(
            "where does the system [prompt|message] go",
            "it should [always|] [act as|behave like|be] [a teacher|an expert|a poet|a tutor]",
        ),
    ),
    Fact(
        "`heron run --raw` gives the prompt as it is, without the chat template, and continues it.",
        'heron run model.gguf --raw -p "Once upon a time"',
        names=("--raw", "raw", "raw mode", "heron run --raw"),
        do=(
            "[skip|avoid|disable|turn off|leave out|switch off|remove|omit|ignore|bypass] the [chat template|template|chat format|chat formatting|chatml|prompt template]",
            "[use|run|prompt] [a base model|a raw prompt|a plain prompt|raw mode|the model without a template|completion mode|a pretrained model]",
            "[complete|continue|extend|finish] [a text|a sentence|a story|some text|my text|a prompt]",
            "[send|pass|give] [the|my|a] prompt [unchanged|verbatim|exactly as it is|without formatting|without a template|raw]",
            "[do|get] [plain|raw|simple] [completion|text completion|continuation]",
        ),
        about=(
            "[raw|verbatim] [prompts|mode|text]",
            "[text|plain|raw] completion",
            "[a|] prompt without [a|the] [chat|] template",
            "base models",
            "the raw [flag|option]",
        ),
        ask=("[can I|is it possible to] [use it|prompt it|run] without [a|the] chat template", "I do not want [a|the|any] chat template"),
    ),
    Fact(
        "`heron run -i` (or `--interactive`) talks in turns; `heron chat` is the fuller chat in the terminal.",
        "heron run -i",
        names=("-i", "--interactive", "interactive", "heron run -i", "interactive mode"),
        about=("[the|] interactive [mode|flag|option] of heron run",),
        ask=("[heron run|it|run] [exits|quits|ends] after one [answer|question|reply]",),
    ),
    Fact(
        "`heron run --stats` prints load time, prompt and decode tokens per second, time to first token and memory.",
        'heron run model.gguf -p "Hello" --stats',
        names=("--stats", "stats", "statistics", "heron run --stats"),
        do=(
            "[see|show|print|measure|know|get|check|display|benchmark|test] [the|its|my|] [speed|tokens per second|tokens/s|performance|timings|statistics|stats|throughput|load time|memory use|latency|time to first token|memory usage]",
            "[see|know|measure|find out|check] [how fast it is|how fast the model runs|how long it takes|how much memory it uses|how many tokens a second I get|how quick it is]",
        ),
        about=(
            "[the|] [speed|tokens per second|timings|statistics|performance|throughput|memory usage|memory use|load time|latency]",
            "time to first token",
            "[a|] benchmark",
        ),
        ask=(
            "how [fast|quick] is [it|heron|this model|my model|generation]",
            "how [much memory|much ram|many tokens per second|many tokens a second|long] does it [use|take|need|make|do]",
            "how long does [loading|the first token|an answer] take",
        ),
    ),
    Fact(
        "Press Ctrl-C: the answer ends cleanly; in `heron chat` and `heron run -i` the conversation goes on.",
        names=("Ctrl-C", "ctrl c", "^C"),
        do=(
            "[interrupt|abort|cancel|break off|quit|kill|exit|leave|stop] [the answer|generation|a running answer|heron|it|the program|the output|while it generates|a run|the reply]",
            "[stop|quit|end] [it|the answer|generation] [early|now|while it is writing|in the middle|midway|by hand|from the keyboard]",
        ),
        about=("[interrupting|cancelling|aborting|quitting]", "ctrl[-|+| ]c", "[an|] interrupt"),
        ask=("which key [stops|interrupts|ends|cancels] [it|the answer|generation]", "what happens [on|when I press|with] ctrl[-|+| ]c"),
    ),
)

PYTHON = (
    Fact(
        "In Python, `heron.load(path)` loads a GGUF file or a folder and returns the model.",
        'model = heron.load("model.gguf")',
        names=("heron.load", "heron.load()", "load()"),
        do=(
            "[load|open|use|get|import|create|read in] [a|my|the] [model|gguf|gguf file|checkpoint] [in|from|with|using] [python|a python script|a script|a notebook|my code|my program|code]",
            "[use|call|embed|import] heron [in|from|as a library in] [python|my program|a script|a notebook|my code|jupyter]",
        ),
        about=(
            "[the|] python [api|library|interface|bindings|package]",
            "[the|] [api|library] [for python|]",
            "loading a model in python",
            "import heron",
        ),
        ask=(
            "is there a python [api|library|interface|package|binding]",
            "which [function|python function|call] loads a model",
            "can I [use|call] heron from python",
            "python [example|snippet|quickstart]",
        ),
    ),
    Fact(
        "In Python, `model.generate(prompt, max_tokens=50).text` is the answer; sampling options such as `temperature` and `seed` are arguments too.",
        'print(model.generate("Hello", max_tokens=50).text)',
        names=("model.generate", "model.generate()", "generate()", "generate"),
        do=(
            "[generate|get|produce|make|complete|write|sample] [text|an answer|a reply|some text|a completion|tokens|a response] [in|from|with|using] [python|a script|the python api|code|a notebook|my program]",
            "[prompt|ask|query] [the|a] model [in|from|with] [python|a script|code|a notebook]",
            "[set|pass|use] [the temperature|sampling options|the seed|max tokens|top-p|options] [in|from] python",
        ),
        about=("[the|] generate [method|function|call]", "[text|] generation [in|from] python", "sampling [options|parameters] in python"),
        ask=("which [method|function] generates [text|an answer]", "how does generate work [in python|]"),
    ),
    Fact(
        "In Python, `model.generate(prompt, stream=True)` yields the pieces as they are generated.",
        'for piece in model.generate("Hello", stream=True): print(piece.text, end="")',
        names=("stream=True", "stream", "streaming"),
        do=(
            "[stream|print|get|show|receive|iterate over] [tokens|text|the answer|the output|the pieces|words|each token] [as they come|as it is generated|one by one|piece by piece|token by token|live|while generating|] [in|from|with|using] [python|a script|code|my code|a loop]",
            "[stream|do streaming] [in|from|with] [python|a script|the api]",
        ),
        about=(
            "streaming [in|from|with] [python|the api|a script]",
            "[a|the] [streaming|token] iterator [in python|]",
            "the stream argument",
        ),
        ask=("can [python|generate|the api] stream",),
    ),
    Fact(
        "In Python, `model.logits(tokens)` returns the logits as float32 of shape [T, vocab].",
        'scores = model.logits(model.tokenizer.encode("Hello"))',
        names=("model.logits", "model.logits()", "logits()", "logits"),
        do=(
            "[get|compute|read|see|access|return|obtain] [the|] [logits|raw scores|next token scores|scores of all tokens|output scores|next-token distribution] [in python|of a prompt|for a text|of a sequence|from python|]",
            "[score|evaluate|rate] [a text|a sequence|tokens|a sentence|a prompt] [in python|with the model|]",
        ),
        about=(
            "[the|] [logits|raw logits|output logits]",
            "[scores|logits] [over|of|for] the [vocabulary|vocab|tokens]",
            "the [output scores|next-token distribution] [of the model|]",
        ),
        ask=("which [method|function] [gives|returns|computes] [the|] logits",),
    ),
    Fact(
        "In Python, `model.tokenizer.encode(text)` gives token ids and `.decode(ids)` the text; `heron.Tokenizer.from_file(path)` needs no loaded model.",
        'ids = heron.Tokenizer.from_file("model.gguf").encode("Hello")',
        names=(
            "heron.Tokenizer",
            "Tokenizer",
            "Tokenizer.from_file",
            "model.tokenizer",
            "encode()",
            "decode()",
            "encode",
            "decode",
            "tokenizer",
        ),
        do=(
            "[tokenize|tokenise|encode|split|convert] [text|a text|a string|words|a sentence|my prompt|a prompt|a document] [into tokens|to token ids|in python|into ids|to ids|]",
            "[count|know|see|get] [the tokens|tokens|the token ids|how many tokens|the number of tokens] [of|in|has] [a text|a prompt|a string|a file]",
            "[decode|detokenize|detokenise|convert] [ids|tokens|token ids|a list of ids] [to text|into text|back to text|back|in python|]",
            "[use|load|open|get|access] [the|only the|just the] tokenizer [in python|of a model|without the model|alone|]",
        ),
        about=(
            "[the|a] tokenizer [api|class|in python|]",
            "[tokenization|tokenizing|tokenising|token ids|token counts]",
            "encoding and decoding [text|tokens|]",
        ),
        ask=("how many tokens is [my|this|a] [text|prompt|string]", "which [method|class|function] tokenizes [text|a string]"),
    ),
    Fact(
        "In Python, `heron.Checkpoint(path)` opens a file or folder without loading it: `.metadata` and `.tensors`.",
        'heron.Checkpoint("model.gguf").metadata["general.architecture"]',
        names=("heron.Checkpoint", "Checkpoint", "checkpoint.metadata", "checkpoint.tensors", ".metadata", ".tensors"),
        do=(
            "[read|get|access|see|inspect|parse|load] [the|] [metadata|gguf metadata|header|gguf keys|key values|tensors|weights|raw tensors|hyperparameters] [of a model|of a gguf|of a file|] [in|from|with|using] [python|code|a script|a notebook]",
            "[open|parse|read|inspect] a [gguf|checkpoint|gguf file|model file] [in|from|with] [python|code|a script] [without loading it|without running it|]",
            "[get|read] a [tensor|weight|matrix] as [numpy|a numpy array|an array]",
        ),
        about=("the checkpoint [class|object|api]", "[metadata|tensors|weights|gguf files] in python", "[gguf|model] metadata from python"),
        ask=("which [class|object] [reads|opens|holds] [metadata|the metadata|tensors|weights|gguf files]",),
    ),
    Fact(
        'In Python, `model.generate` also takes chat messages: a list of dicts with `"role"` and `"content"`.',
        'model.generate([{"role": "user", "content": "Hello"}])',
        names=("chat messages", "messages", "role", "roles"),
        do=(
            "[send|pass|give|use|apply] [chat messages|messages|a conversation|a chat|a list of messages|a dialogue|roles|a system message|the chat template] [in|from|with|to generate in] [python|the api|code|a script]",
            "[chat|have a conversation|hold a dialogue] [in|from] [python|a script|code]",
        ),
        about=("[chat|] messages in python", "[a|] [chat|conversation|dialogue] in python", "roles [in python|in messages|]"),
        ask=("does generate [take|accept] [messages|a list of messages|a conversation|roles]",),
    ),
    Fact(
        "In Python, `model.generate(prompt)` returns `text`, `tokens` and `logprobs`, the log-probability of each token.",
        'model.generate("Hello", max_tokens=5).logprobs',
        names=("logprobs", "log-probabilities", "log probs", ".logprobs"),
        do=(
            "[get|see|read|print|have|return] [the|] [log-probabilities|logprobs|log probs|probabilities|probability of each token|token probabilities|confidence] [in python|of the answer|of the tokens|from generate|]",
            "[know|see] how [likely|probable|sure|confident] [each token|the answer|a token|the model] [is|was]",
        ),
        about=(
            "[log-probabilities|logprobs|log probs|token probabilities]",
            "the [probability|confidence] of [a token|each token|the tokens|the answer]",
        ),
        ask=("does generate return [logprobs|log-probabilities|probabilities]", "how [sure|confident] is the model"),
    ),
    Fact(
        "In Python, `heron.load` takes `backend`, `threads` and `ctx_size`.",
        'model = heron.load("model.gguf", backend="native", threads=4)',
        do=(
            "[set|choose|change|limit|pass] [the|] [threads|number of threads|backend|context size|cores] [in|from] [python|the api|a script|code]",
            "[use|pick|load with] [the reference backend|the native backend|four threads|a larger context|more threads] [in|from] python",
        ),
        about=("[threads|backend|context size|load options] in python", "the [arguments|options|parameters] of heron.load"),
        ask=("what [arguments|options|parameters] does heron.load [take|have|accept]",),
    ),
)

ERRORS = (
    Fact(
        "An unknown model, a missing file or a full context give one clear line and exit code 2, without a traceback. Check the path you gave to `heron run`.",
        do=(
            "[fix|solve|understand|handle] [a|the] [missing file|file not found|no such file|unknown model|not found] [error|message|problem|]",
        ),
        about=(
            "[a|] [missing|wrong] [file|path|model]",
            "[file not found|no such file|unknown model]",
        ),
        ask=(
            "[it|heron|heron run] [says|prints|complains|tells me] [file not found|that the file is missing|there is no such file|unknown model|that it cannot find the model|no such file or directory]",
            "[my|the] [model|file|path] [is not found|does not exist|is missing|cannot be found]",
            "what happens [when|if] [a|the] [file is missing|model is unknown|path is wrong]",
        ),
    ),
    Fact(
        "`CheckpointError`: the model file or folder is missing, damaged or hostile; the message names the place and the cause. Download the file again and try `heron info FILE`.",
        names=("CheckpointError", "checkpoint error", "heron.errors.CheckpointError"),
        do=(
            "[fix|solve|repair|handle|understand] [a|the] [CheckpointError|damaged file|corrupt file|broken gguf|truncated file|corrupted model|bad magic]",
        ),
        about=("[a|] [damaged|broken|corrupt|corrupted|truncated|incomplete|invalid] [file|gguf|model|download|checkpoint]",),
        ask=(
            "[my|the] [gguf|file|model|download] [is|seems|looks] [broken|damaged|truncated|incomplete|invalid|bad|corrupted]",
            "[what|which] error [means|is raised for|do I get for] a [damaged|broken|truncated|malformed|corrupted] [file|gguf|model]",
            "the [file|download] was cut [off|short]",
            "why [do I get|is there] a CheckpointError",
        ),
    ),
    Fact(
        "`UnsupportedError`: the file is well formed, but it names an architecture or a format that this version cannot run. `heron info FILE` shows which.",
        names=("UnsupportedError", "unsupported error", "heron.errors.UnsupportedError"),
        do=("[fix|solve|handle|understand] [an|the] [UnsupportedError|unsupported architecture|unknown architecture|unsupported format]",),
        about=("[an|] [unsupported|unknown] [architecture|format|model type|quantization|tensor type]",),
        ask=(
            "[my|the] [model|architecture|format|quantization] is [not supported|unsupported|unknown]",
            "[it|heron] [says|prints] [unsupported|not supported|cannot run this architecture|unknown architecture]",
            "heron [cannot|does not] [run|support|know] my [architecture|model type|format]",
            "[what|which] error [means|is raised for] an [unsupported|unknown] [architecture|format]",
        ),
    ),
    Fact(
        "Every error of Heron is a `HeronError`: `CheckpointError`, `UnsupportedError`, `TokenizerError`, `RequestError` and `BackendError` come under it.",
        "except heron.HeronError as error: print(error)",
        names=("HeronError", "RequestError", "TokenizerError", "BackendError", "TemplateError", "heron.HeronError"),
        do=(
            "[catch|handle|trap|deal with|intercept] [errors|exceptions|all errors|heron's errors|any error|failures] [in python|from heron|]",
        ),
        about=("[the|] [exceptions|errors|error classes|exception tree|exception classes|error types]", "error handling"),
        ask=(
            "[which|what] [exceptions|errors|exception] [does heron raise|can be raised|should I catch|do I catch|are there]",
            "what do I [catch|except]",
        ),
    ),
)

ABOUT = (
    Fact(
        "I am Heron's pocket model, a very small language model that ships with Heron. I know Heron's commands and little else.",
        do=("know who you are",),
        about=("yourself", "you"),
        ask=(
            "are you [chatgpt|gpt|claude|human|a human|a person|a robot|a bot|an ai|alive|real|conscious|gemini|llama|sentient]",
            "what [model|kind of model|llm|ai|language model] are you",
            "which model [is this|are you|is answering]",
            "am I [talking|speaking|chatting] to [a human|a machine|an ai|a person|a bot]",
            "how [big|small|large] are you",
            "are you [smart|intelligent|clever|stupid|dumb]",
            "why are you so [small|dumb|limited]",
        ),
    ),
    Fact(
        "I can tell you how to use Heron: `heron run` generates text, `heron chat` talks, `heron serve` is a server, `heron info` looks into a model file, `heron pull` gets one, and there is a Python API. Ask me about a command or a flag.",
        about=("what you can do", "your [abilities|skills|capabilities|features|strengths]"),
        ask=(
            "what can I ask [you|]",
            "how can you help [me|]",
            "what can you help [me|] with",
            "what are you [for|able to do|capable of]",
            "what can you [tell|teach|show] me",
            "can you help [me|]",
            "what are your [skills|abilities|capabilities|features]",
            "what [features|functions] does heron have",
            "what should I ask [you|]",
        ),
    ),
    Fact(
        "Heron is an engine that runs language models on your own machine: a Python library and the `heron` command. A GGUF file or a folder of safetensors goes in, text comes out.",
        names=("heron", "Heron"),
        about=("heron", "the heron [project|engine|library|program]", "this [project|program|tool|software|library|repository]"),
        ask=(
            "explain heron [to me|]",
            "what is this [program|project|tool|software|thing|repository|library|app]",
            "why [would I|should I] use heron",
            "what is heron [used for|good for]",
            "describe heron [in one sentence|briefly|]",
            "is heron [a model|a library|a server|a framework|an app]",
            "does [heron|it] [send my data anywhere|need the internet|run offline|run locally|work offline|phone home]",
            "is my data [private|safe|sent somewhere]",
        ),
    ),
    Fact(
        "Heron is named after Heron of Alexandria, who built the first engine.",
        about=("the name [heron|of heron|of the project|]", "Heron of Alexandria"),
        ask=(
            "why [is it called|the name|is this called|is it named] heron",
            "where does the name [heron|] come from",
            "[who|what] is [it|heron] named after",
            "what does [heron|the name] mean",
            "is heron [a bird|named after a bird|called after the bird]",
            "who was heron [of alexandria|]",
            "origin of the name [heron|]",
        ),
    ),
    Fact(
        "I was trained by `training/pocket/train.py` in Heron's repository, on dialogues that it writes itself. I take less than 6 MB.",
        names=("training/pocket/train.py",),
        do=("[train|retrain|rebuild|make] [you|the pocket model] [again|myself|]",),
        about=("your [training|training data|origin|creator|maker|author]", "the training of the pocket model"),
        ask=(
            "who [made|created|built|trained|wrote|developed] you",
            "how were you [made|trained|built|created]",
            "what [data|texts] did you learn from",
            "where [do|are] you [live|stored]",
            "how [big|large] is [your file|the pocket model|the pocket model's file]",
            "can I [train|retrain] you",
            "who is your [creator|maker|author|developer|boss]",
            "when were you [made|trained|born]",
        ),
    ),
    Fact(
        "Heron is free software under the MIT licence.",
        names=("MIT", "license", "licence", "LICENSE"),
        about=("[the|heron's] [license|licence|price|cost|copyright|terms]",),
        ask=(
            "is heron [free|open source|open-source|free software|commercial|proprietary|paid]",
            "what [license|licence] [is heron under|does heron have|is it|is this]",
            "which [license|licence]",
            "can I use heron [commercially|at work|in my company|for free|in a product|at my job]",
            "how much does [it|heron] cost",
            "may I [copy|modify|sell|redistribute|share] [heron|it|the code]",
        ),
    ),
    Fact(
        "Heron needs Python 3.10 or later, pip, and a C++ compiler for the fast core. `make run` does the rest.",
        about=("[the|heron's] [requirements|dependencies|prerequisites|system requirements]", "[the|] python version"),
        ask=(
            "what does [heron|it] [need|require|depend on]",
            "[which|what] [python|version of python|python version] [do I need|is required|does it need|does heron need|works|is supported]",
            "does [it|heron] [work|run] with python [3.8|3.9|3.10|3.11|3.12|3.13|2|3]",
            "what do I need to [run|install|build|have for] heron",
            "what must be installed [first|before]",
            "do I need a [compiler|c++ compiler]",
            "is python [3.8|3.10|3.12] [ok|fine|enough|supported|too old]",
        ),
    ),
    Fact(
        "No: the core of Heron runs without torch. torch is only an extra, `pip install 'heron[torch]'`.",
        names=("torch", "pytorch", "heron[torch]"),
        about=("[torch|pytorch]", "[the|] torch extra", "[tensorflow|pytorch|transformers|torch] as a dependency"),
        ask=(
            "do I need [torch|pytorch|tensorflow|transformers]",
            "does [heron|it] [need|require|use|depend on|install|want] [torch|pytorch|tensorflow|transformers]",
            "is [torch|pytorch] [required|needed|necessary|installed|a dependency]",
            "can I run [it|heron] without [torch|pytorch]",
        ),
    ),
    Fact(
        "Heron is tested on Linux on x86-64. macOS, Windows and arm64 are kept buildable, but are untested.",
        names=("Linux", "Windows", "macOS", "arm64"),
        about=("[the|] [supported|] [platforms|operating systems|systems]", "[windows|macos|apple|mac|raspberry pi|arm|m1|linux] support"),
        ask=(
            "[does|can|will] [heron|it] [run|work|build] on [windows|macos|a mac|linux|arm|arm64|a raspberry pi|apple silicon|an m1|ubuntu|debian|osx|a phone|android]",
            "which [platforms|operating systems|systems|os] [are supported|does it run on|work]",
            "is [windows|mac|macos|linux|arm] supported",
            "can I use heron on [windows|my mac|my macbook|ubuntu|a pi]",
        ),
    ),
    Fact(
        "Without a C++ compiler Heron still imports and runs on the reference backend, with a warning. It is slower.",
        about=("[no|a missing] [compiler|c++ compiler|gcc]", "[an|] install without [gcc|clang|a compiler]"),
        ask=(
            "what if [I have|there is] no [compiler|c++ compiler|gcc|clang]",
            "[does|can] [heron|it] [work|run|install] without [a|any] [compiler|c++ compiler|gcc|clang|c++]",
            "I [have no|do not have a|cannot install a] [compiler|c++ compiler|gcc]",
            "[the core is|it says the core is] not compiled",
            "it warns [about|that it uses] the [slow|] reference backend",
            "the [build|compile|compilation] [fails|failed]",
        ),
    ),
    Fact(
        "Heron reads GGUF files and folders of safetensors, plain or quantized by GPTQ, AWQ, FP8 and others.",
        names=("GGUF", "gguf", "safetensors"),
        about=("[the|] [file|model] formats", "[gguf|safetensors] [support|files|format]", "[supported|readable] [formats|files]"),
        ask=(
            "[which|what] [formats|file formats|model formats|files|file types] [does heron read|are supported|can it read|can I use|work|does it understand|can heron open]",
            "[can|does] [heron|it] [read|open|load|support] [gguf|gguf files|safetensors|safetensor files|.bin files|onnx|pytorch files|pickle files]",
            "is [gguf|safetensors|onnx] supported",
        ),
    ),
    Fact(
        "Heron runs every block format of GGUF, from F32, BF16, Q8_0, Q6_K, Q4_K and Q4_0 to IQ1_S, MXFP4 and NVFP4.",
        names=("Q4_0", "Q8_0", "Q4_K", "Q6_K", "Q4_K_M", "BF16", "F16", "q4_k_m"),
        about=(
            "[quantized|quantised] [models|weights|files]",
            "[the|] [quantizations|quants|quantization formats|quant types]",
            "[4-bit|8-bit|4 bit|8 bit] [models|weights|quantization]",
        ),
        ask=(
            "[which|what] [quantizations|quants|quantization formats|quant types|quantized formats|bit widths] [are supported|does heron run|work|can it run|does it know]",
            "[can|does] [heron|it] [run|read|support|load] [quantized|quantised|4-bit|8-bit|q4|q8] [models|weights|files|ggufs]",
            "is [q4_0|q8_0|q4_k|q6_k|q4_k_m|bf16|f16|int8] supported",
        ),
    ),
    Fact(
        "Heron runs more than thirty families, from llama, mistral, mixtral, qwen, gemma, phi and deepseek to gpt-oss, mamba, t5 and bert: docs/models.md lists them.",
        names=("llama", "mistral", "mixtral", "qwen2", "qwen3", "gemma3", "gemma", "qwen"),
        about=("[the|] [supported|] [architectures|families|model families|models]", "[llama|mistral|qwen|gemma|mixtral] [models|support]"),
        ask=(
            "[which|what] [models|architectures|families|model families|llms] [are supported|does heron run|does heron support|can it run|work|can I run|does it know]",
            "[can|does|will] [heron|it] [run|support|load|work with] [llama|llama 3|mistral|mixtral|qwen|qwen3|gemma|gemma 3|a llama model]",
            "is [llama|mistral|qwen|gemma|mixtral|llama 3.2|qwen3] supported",
        ),
    ),
    Fact(
        "Heron uses the chat template of the model, or recognises one by its vocabulary. `heron run --raw` leaves it out.",
        names=("chat template", "chatml", "jinja"),
        about=("[the|] chat [template|templates|format]", "[prompt|jinja] templates", "chatml"),
        ask=(
            "[which|what] chat [template|format] [is used|does heron use|is applied]",
            "[does|will] [heron|it] [apply|use|add] [a|the|] chat template",
        ),
    ),
    Fact(
        "`HERON_ISA` forces one instruction set of the CPU core, instead of the best that the machine has.",
        "HERON_ISA=avx2 heron run model.gguf",
        names=("HERON_ISA", "avx2", "avx512", "AVX-512"),
        do=(
            "[force|choose|select|disable|avoid|use|limit to] [avx2|avx512|avx-512|avx|an instruction set|the instruction set|vnni|simd instructions]",
        ),
        about=("[the|] instruction [set|sets]", "[avx2|avx512|avx-512|vnni|simd]"),
        ask=("does [heron|it] use [avx2|avx512|avx-512|vnni|simd]", "which [instruction set|instructions|simd] does it use"),
    ),
    Fact(
        "`HERON_FUSE=0` runs each fused op as the plain ops it is made of, to compare them.",
        "HERON_FUSE=0 heron run model.gguf",
        names=("HERON_FUSE", "HERON_FUSE=0"),
        do=("[turn off|disable|switch off|avoid|stop] [fusion|fused ops|op fusion|fused kernels|the fused operations]",),
        about=("[op|] fusion", "fused [ops|operations|kernels]"),
        ask=("[can|how can] I [run|compute] without fused [ops|kernels]",),
    ),
    Fact(
        "The sampling steps are, in order: penalties, temperature, `--top-k`, `--top-p`, `--min-p`, `--typical-p`, mirostat, and the pick.",
        about=("the order of the [samplers|sampling steps|sampling options]", "the [sampler|sampling] [chain|order|pipeline]"),
        ask=(
            "in [which|what] order are the [samplers|sampling options|sampling steps|filters] [applied|run|used]",
            "[which|what] [samplers|sampling options|sampling methods] [are there|does heron have]",
        ),
    ),
    Fact(
        "`docs/architecture.md` tells how Heron is built: the five nouns, the life of a token, and where to add things.",
        names=("docs/architecture.md",),
        do=(
            "[add|write|implement|contribute] [a new|a|another] [family|op|backend|architecture|kernel|format]",
            "[understand|read about|learn about] [the|heron's] [code|architecture|design|internals|source code]",
        ),
        about=("[the|heron's] [architecture|design|internals|source code|structure]", "the [code|codebase]"),
        ask=("how is heron [built|structured|designed|organised|made]", "where [do I start reading|is the documentation of] the code"),
    ),
)

MORE = (
    Fact(
        "`heron` has the exit status 0 when it is done, 2 when it refused (a line says why), 70 for a bug in Heron, 130 after Ctrl-C.",
        do=("[get|read|check|know|use|test for] the exit [code|status]",),
        about=("[the|] exit [code|codes|status]", "[the|] return [code|value] of the command"),
        ask=("[which|what] [exit code|exit status|return code] [does heron use|do I get|is used|means an error|comes back]",),
    ),
    Fact(
        "`heron run --no-mmap` (and `heron serve`) reads the model's files instead of mapping them: for network disks.",
        "heron run model.gguf --no-mmap",
        names=("--mmap", "--no-mmap", "mmap"),
        do=("[disable|turn off|avoid|use|switch off] [mmap|memory mapping|mapping of files]",),
        about=("[mmap|memory mapping]",),
    ),
    Fact(
        "`heron run --mlock` (and `heron serve`) keeps the weights in memory, never swapped out.",
        "heron serve model.gguf --mlock",
        names=("--mlock", "mlock"),
        do=("[lock|pin|keep|hold] [the|all] [weights|model|memory] in [ram|memory]", "[avoid|prevent|stop] [swapping|paging]"),
        about=("[memory locking|swapping|mlock]",),
    ),
    Fact(
        "`heron run --no-repack` (and `heron serve`) uses weights as they lie in the file: less memory, quicker loading, slower answers.",
        "heron run model.gguf --no-repack",
        names=("--no-repack", "--repack", "repack", "repacking"),
        do=("[avoid|skip|disable|turn off] [repacking|repack|the repacked weights|weight repacking]",),
        about=("[repacking|weight layout|repacked weights]",),
    ),
    Fact(
        "`heron run --mirostat-tau X` is mirostat's target in bits, and `--mirostat-eta X` its rate.",
        "heron run model.gguf --mirostat 2 --mirostat-tau 4",
        names=("--mirostat-tau", "--mirostat-eta", "mirostat-tau", "mirostat-eta", "tau", "eta"),
        do=("[set|change|choose|lower|raise] [mirostat's|the mirostat|the] [target|tau|eta|rate|learning rate] [of mirostat|]",),
        about=("mirostat's [target|rate|tau|eta|learning rate]",),
    ),
    Fact(
        "`heron --version` prints Heron's version.",
        "heron --version",
        names=("--version", "version"),
        do=("[see|show|print|find|check|get] [the|my|heron's] [version|version number|release]",),
        about=("[the|heron's] version [number|]",),
    ),
    Fact(
        "`heron --debug` shows the traceback of an error, before or behind any command.",
        "heron --debug run model.gguf",
        names=("--debug", "exit code 70", "traceback", "stack trace"),
        do=("[see|show|print|get] [the|a|full|python] [traceback|stack trace|backtrace]", "[report|file] a bug [report|in heron|]"),
        about=("[tracebacks|stack traces|bug reports|internal errors]",),
    ),
    Fact(
        "Training in Python: `heron.backends.torch.training` has `trainable()`, with LoRA; docs/training.md tells how. There is no command for it.",
        "model = trainable(path, lora=Lora(rank=8))",
        names=("trainable", "Lora"),
        do=("[train|fine-tune|finetune|fine tune] [a|my|the] [model|llm|adapter|lora|gguf] [in|with|from] [python|torch|code|the api]",),
        about=("[training|gradients|lora|fine-tuning|finetuning] in python",),
        ask=(
            "[can|does|how does|how can] heron [train|finetune|fine-tune] [models|a model|]",
            "[train|finetune|fine-tune] [a|my|my own] [model|llm|model on my data]",
        ),
    ),
    Fact(
        "In Python, `model.embed(texts)` gives a vector for each text, as float32 [texts, hidden] of length 1.",
        'vectors = heron.load("all-MiniLM-L6-v2").embed(["a heron waits", "a bird stands still"])',
        names=("model.embed", "model.embed()", "embed()"),
        do=(
            "[compute|get|make|create] [embeddings|vectors|an embedding|sentence vectors] [in|from|with] [python|a script|code|a notebook]",
        ),
        about=("embeddings [in|from] python", "the embed method"),
    ),
    Fact(
        "In Python, `heron.Engine(model)` answers many requests at once: `engine.generate(prompts)`, `engine.stream`, `engine.submit`.",
        'with heron.Engine(heron.load("model.gguf"), max_seqs=32) as engine: answers = engine.generate(prompts)',
        names=("heron.Engine", "Engine", "engine.generate", "engine.stream", "engine.astream"),
        do=(
            "[generate|answer|run|process] [many|several|a list of|a batch of|hundreds of] [prompts|texts|questions|answers] [at once|in parallel|together|] [in|from|with] [python|a script|code]",
        ),
        about=("[batching|batch generation|continuous batching|async|asyncio] in python", "the engine class"),
    ),
)

UNKNOWN_COMMAND = Fact(
    "Heron has no command for that, as far as I know. `heron --help` lists all that there are.",
    names=(
        "heron train",
        "heron finetune",
        "heron update",
        "heron merge",
        "heron search",
        "heron login",
        "heron see",
        "heron speak",
        "--image",
        "--lora",
        "--audio",
    ),
    do=(
        "[send|use|describe|read|understand|look at] [an image|images|a picture|photos|audio|a video|a pdf|a screenshot]",
        "[update|upgrade|uninstall] heron",
        "[run|serve|split a model] [on|over|across] [several|multiple|two] [machines|computers|nodes]",
        "[generate|draw|paint|make] [an image|images|pictures|a video]",
        "[transcribe|recognise|understand] [audio|speech|a recording|voice]",
        "[speak|read aloud|say] [the answer|the text|it] [aloud|by voice|]",
        "[search|browse|surf] the web",
        "[merge|blend|combine|average] [two|several] models",
        "[use|load|apply] a [lora|lora adapter|qlora adapter] [with heron run|on the command line|]",
    ),
    about=("[speech|images|vision|audio|image generation|text to speech|web search|model merging|a cluster]",),
    ask=(
        "is there a [desktop app|mobile app|vscode plugin|windows installer|browser extension]",
        "[can|does] heron [see images|speak|draw|transcribe audio|browse the web|merge models|read pdfs|run on a cluster]",
    ),
)

FACTS = (*COMMANDS, *OPTIONS, *MORE, *PYTHON, *ERRORS, *ABOUT, UNKNOWN_COMMAND)

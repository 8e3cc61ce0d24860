"""Words that people use for one another when they speak of programs. A line is a group of words or phrases.

Verbs stand in their base form; `forms` makes the others. Groups are loose on purpose: a question with a word exchanged has to be
understood, not to be good English. What tells two facts apart must not stand in one group ("top-k" and "top-p", "chat" and "serve").
"""

from __future__ import annotations

import re

VERBS = """
show|print|display|list|view|see|dump|tell me|give me|reveal
get|obtain|have|receive|fetch me|grab
make|let|cause|force|have
use|utilise|employ|work with|take|make use of
set|specify|define|give|pass|configure|put|supply|provide
change|alter|adjust|modify|tweak|vary
increase|raise|enlarge|grow|extend|boost|bump up|turn up|expand|push up|widen
reduce|lower|decrease|cut|shrink|turn down|lessen|bring down|cut down|minimise
limit|cap|restrict|bound|constrain|confine
stop|end|halt|cease|finish|terminate|quit
prevent|avoid|keep from|suppress|hinder|get rid of
start|launch|begin|fire up|spin up|kick off|bring up
run|execute|start|launch|try|use|fire up
open|load|read in|bring in
read|parse|load|take in|look at|go through
download|pull|fetch|get|grab|retrieve|bring down
delete|remove|erase|wipe|throw away|get rid of|clear out|drop|trash|uninstall
turn off|disable|switch off|deactivate|get rid of|shut off|do without
turn on|enable|switch on|activate|engage
choose|pick|select|decide|determine|specify
find|locate|look up|discover|figure out|find out|work out
check|verify|test|validate|confirm|make sure of|look into|see
measure|benchmark|time|gauge|find out|test
compare|contrast|weigh up|put side by side
write|save|store|put
save|keep|store|write down|preserve|put away
send|pass|post|submit|feed|hand|give
create|make|build|produce|generate|set up
generate|produce|create|write|output|make|come up with
convert|turn|transform|translate|change|port|export
compress|shrink|squeeze|make smaller|reduce
install|set up|get|put on my machine|deploy
talk|chat|speak|converse|have a conversation
ask|query|question|prompt
answer|reply|respond
help|assist|aid
want|need|would like|wish|have to|am trying|must
understand|know|learn|grasp|get
explain|describe|tell me about|clarify|walk me through
fix|solve|repair|resolve|sort out|deal with|get around
ignore|skip|leave out|omit|bypass|disregard
keep|hold|leave|retain
fail|crash|break|die|blow up|give up
complain|say|report|whine|grumble|tell me
allow|permit|let
require|need|demand|ask for|want
support|handle|understand|know|work with|be able to use
share|split|divide|spread|distribute
connect|point|hook up|attach|link
expose|publish|open up|make available|offer
protect|secure|lock|guard|safeguard
wait|hang|pause|idle
offload|move|put|shift|push
score|rate|evaluate|judge|assess|grade
inspect|examine|look into|analyse|peek into|look inside|study
count|tally|number
cancel|interrupt|abort|break off|kill|stop
restart|reload|relaunch|start again
remember|keep in mind|recall|retain
forget|lose|drop
consider|look at|take into account|regard
penalise|punish|discourage|penalize
complete|finish|continue|carry on|go on with
add|include|append|put in|attach
estimate|predict|foresee|guess|calculate|work out
"""

WORDS = """
answer|reply|response|output|completion
answers|replies|responses|outputs|output
text|prose
prompt|input|question
model|llm|language model|checkpoint|network|ai
models|llms|checkpoints|language models
folder|directory|dir
machine|computer|laptop|pc|box|workstation|desktop
server|service|daemon|endpoint|api server
gpu|graphics card|video card|nvidia card|card|cuda device|graphics processor
cpu|processor
cores|cpu cores|cpus|processors
memory|ram|main memory
disk|drive|ssd|storage|hard disk
flag|option|switch|argument|parameter|setting
flags|options|switches|arguments|parameters|settings
error|failure|exception|problem
speed|pace|throughput|performance
fast|quick|speedy|rapid|swift
faster|quicker|more quickly|at a higher speed
slow|sluggish|laggy|a crawl
slower|less fast
big|large|huge|enormous|massive
bigger|larger|greater
small|little|tiny|compact
smaller|more compact|littler|lighter
short|brief|concise|terse
long|lengthy
longer|lengthier|more extended
size|dimensions|bytes
length|size
number|count|amount|quantity
maximum|max|largest|highest|upper limit|most
minimum|min|least|smallest|lowest
random|arbitrary|by chance|unpredictable
randomness|chance|luck|variation
creative|imaginative|inventive|wild|lively
boring|dull|bland|flat|dry
deterministic|reproducible|repeatable
same|identical|equal|exactly the same
different|another|other|distinct
likely|probable
probability|likelihood|chance|odds
tokens|words|pieces
website|web page|site|page
browser|firefox|chrome|web browser
terminal|shell|console|command line|cli
script|program|code
internet|web|net
offline|without internet|without a network|disconnected|with no connection
users|people|clients|persons|colleagues
several|many|multiple|more than one|a few|various
requests|queries|calls
simultaneously|at once|at the same time|in parallel|concurrently
all|every|each of the|the whole
only|just|nothing but|solely
without|with no|lacking
before|prior to|ahead of
directly|straight|right
quickly|fast|in no time
again|once more|one more time
available|there|present|offered|existing
wrong|bad|incorrect|off|not right
broken|damaged|corrupt|corrupted|bad
good|sensible|reasonable|fine|decent
own|personal|private
default|standard|preset|built-in value
format|type|kind
details|information|info|facts|specifics|data
settings|configuration|config|preferences|options
default settings|defaults|preset values
key|password|secret|token
picture|image|photo
vector|embedding
vectors|embeddings
hugging face|huggingface|the hub|hf|huggingface hub
hard drive|disk
free|available|spare
please|kindly|pls|plz
how do I|how can I|how to|how would one|what's the way to|how does one|how should I|how might I|how would I|in what way can I
can I|could I|am I able to|is it possible to|may I|is there a way to|would it be possible to
what is|what's|whats|what does one call
which|what
is there|do you have|does heron have|is there any|have you got|do we have
I want to|I'd like to|I need to|I wanna|I would like to|I'm trying to|trying to|want to|need to|I have to|I gotta|gotta
it|heron|the program
does not|doesn't|won't|will not|refuses to
cannot|can't|can not|am unable to|fail to
very|really|quite|extremely|super|so
too|way too|much too|far too
every time|each time|on every run|always
lots of|many|plenty of|a lot of|tons of
more|additional|extra|further
less|fewer
first|initially|to begin with
then|afterwards|after that|next
called|named|labelled
inside|in|within
about|regarding|concerning|on
"""


def forms(verb: str) -> tuple[str, str, str, str]:
    """make -> makes, making, made as people would guess it: the first word is bent."""
    head, space, tail = verb.partition(" ")
    rest = space + tail
    ed, ing = IRREGULAR.get(head, ""), head + "ing"
    if head.endswith("e") and head not in ("see", "be"):
        ed, ing = ed or head + "d", head[:-1] + "ing"
    elif re.fullmatch(r"[^aeiou]*[aeiou][bdgmnpt]", head):
        ed, ing = ed or head + head[-1] + "ed", head + head[-1] + "ing"
    elif re.search(r"[^aeiou]y$", head):
        ed = ed or head[:-1] + "ied"
    s = head[:-1] + "ies" if re.search(r"[^aeiou]y$", head) else head + ("es" if re.search(r"(s|x|z|ch|sh|o)$", head) else "s")
    return verb, s + rest, ing + rest, (ed or head + "ed") + rest


IRREGULAR = {
    **{"get": "got", "give": "gave", "take": "took", "make": "made", "see": "saw", "tell": "told", "let": "let", "have": "had"},
    **{"run": "ran", "begin": "began", "write": "wrote", "keep": "kept", "hold": "held", "send": "sent", "build": "built", "put": "put"},
    **{"find": "found", "read": "read", "say": "said", "speak": "spoke", "know": "knew", "cut": "cut", "set": "set", "quit": "quit"},
    **{"leave": "left", "feed": "fed", "go": "went", "come": "came", "bring": "brought", "break": "broke", "throw": "threw", "do": "did"},
    **{"choose": "chose", "lose": "lost", "forget": "forgot", "blow": "blew", "split": "split", "spread": "spread", "shut": "shut"},
    **{"grow": "grew", "understand": "understood", "shrink": "shrank", "think": "thought", "fire": "fired", "spin": "spun"},
}


def table() -> dict[str, tuple[str, ...]]:
    """Each word or phrase in lower case, with those that may stand for it."""
    groups = [[verb.split("|") for verb in VERBS.split("\n") if verb], [word.split("|") for word in WORDS.split("\n") if word]]
    bent = [[forms(verb)[form] for verb in group] for group in groups[0] for form in range(4)]
    found: dict[str, list[str]] = {}
    for group in bent + groups[1]:
        for word in group:
            found.setdefault(word.lower(), []).extend(other for other in group if other != word)
    return {word: tuple(others) for word, others in found.items()}


SYNONYMS = table()
#: Words of the longest phrase of the table.
LONGEST = max(len(words.split()) for words in SYNONYMS)

"""The sentences around a question: how it is framed, and what is typed before and after it. Patterns as in facts.py."""
# ruff: noqa: E501  (one pattern, one line)

from __future__ import annotations

from elsewhere import THINGS

#: By the kind of a fact's pattern, which takes the place of "{}".
FRAMES = {
    "do": (
        "how [do|can|would|could|should|might|must] [I|you|one|we|I] {}",
        "how [to|do I|can I|do you] {}",
        "[what is|what's|which is|tell me|show me|give me|is there] [the|a] [flag|option|command|way|switch|parameter|setting] [to|that lets me|for me to|I need to|I use to] {}",
        "[which|what] [flag|option|command|switch|argument|parameter|setting] [do I use to|lets me|is there to|makes it possible to|should I use to|is needed to] {}",
        "[I want to|I'd like to|I would like to|I need to|I have to|I must|I am trying to|trying to|want to|need to|I wish to|we want to|my goal is to|let me] {}",
        "[can|could] [heron|I|you|it|one|heron run] {}",
        "[is it possible to|is there a way to|is there any way to|am I able to|do you know how to|any idea how to|what do I do to|what do I type to|what must I do to] {}",
        "[please|can you|could you|help me|help me to|teach me to|show me how to|tell me how to|explain how to|would you tell me how to] {}",
        "[it should|I wish it could|make heron|let heron|heron should|suppose I want to|what if I want to|when I want to|in case I want to|now I] {}",
        "what is the [best|easiest|right|proper|quickest|simplest|usual] way to {}",
        "{}[, how| - how|: how|, which flag|: what is the flag|, is that possible|, can it be done|, what do I type]",
        "{}",
    ),
    "about": (
        "how do I [set|use|change|choose|control|get|configure|adjust|switch on] {}",
        "how [do|can] I [deal with|work with|handle|see|try] {}",
        "[what is|what's|what are|what about|tell me about|explain|describe|tell me more about|I want to know about|talk about|teach me about|how about] {}",
        "[is there|does heron have|do you have|does it have|does heron support|do you know|can I have|can heron do|does heron know] {}",
        "[where do I set|where is|where do I find|where are|which flag is for|which option sets|what is the option for|the flag for|the command for|which command is for|how does it handle] {}",
        "[I have a question about|question about|I need help with|help with|help me with|I don't understand|any advice on|information on|info about|a word on] {}",
        "[I need|I'd like|I would like|I want|give me|show me|get|print|set|use|change|let me see|let me have|looking for|we need|I could use|I miss] {}",
        "[any|is there any|do we have any|what kind of|are there any] {}",
        "{}[, how|, where|: where|, is it there|, possible|, what is that|, please explain]",
        "{}",
    ),
    "names": (
        "what [does|do] {} [do|mean|stand for|return|change]",
        "[what is|what's|what is the meaning of|meaning of|explain|describe|tell me about|what about|use of|purpose of|define|help|help with] {}",
        "what is {} [for|used for|good for|there for]",
        "how do I use {}",
        "how does {} work",
        "[when|why] [do|would|should] I [need|use|set] {}",
        "[I don't understand|I do not get|give me an example of|an example of|example for|show me an example of|show me|how about|and] {}",
        "[does heron have|is there|can I use|do you know] {}",
        "[what does the|explain the|what is the|how do I use the|tell me about the] {} [flag|option|thing|argument|setting|part] [do||]",
        "{}",
    ),
    "ask": ("{}",),
}
SECOND_TURN = ("[and|what about|how about|ok, and|and what about|now|next:|then what about|also] {}",)
EXAMPLE_TURN = "[give me an example|show me an example|an example please|for example|example|such as|how does that look|can I see it|show me|how exactly|can you give an example|one more time|say it again|an example]"
BEFORE = "[hi, |hello, |hello! |hey, |please, |hi there, |quick question: |sorry, |ok, |so, |hey heron, |one more thing: |excuse me, |good morning, |and |also, |now |dear heron, |um, |question: |can you tell me: |tell me, ]"
AFTER = "[ please| in heron| with heron|  here| on the command line| for me| in this program| thanks| exactly| then| now| again| by the way| on my machine| if possible| today| actually| really]"
#: Said beside a question, and of no weight for the answer.
ASIDE = (
    "[I'm new to this|I am a beginner|I'm on [ubuntu|debian|linux|a laptop|an old machine|a server|my work machine|fedora|wsl|a cloud box]|I have a [7B|13B|1B|8B|small|big] model|it's for [a project|work|school|my thesis|a demo|a client|a friend|fun|my homework|a script of mine]|I tried the docs|I couldn't find it in the manual|I've been looking for an hour|my boss wants to know|coming from [ollama|llama.cpp|vllm|lm studio|python|windows]|I used to use [ollama|llama.cpp|vllm]|in a hurry|sorry if this is obvious|just curious|not sure I understand|I just installed heron|heron is installed already|I have 16 GB of ram|using [llama 3|qwen3|mistral|gemma|my model]|I saw it in a tutorial|my friend said it can|no luck so far|I am [writing about|reading about|making an app about] ["
    + THINGS
    + "]|stupid question|asking for a colleague|bash on linux|first time user|I keep forgetting]"
)
SYSTEM = "[You are a helpful assistant.|You are Heron's pocket model.|You are a helpful assistant. Answer briefly.|Answer briefly.|You are a friendly assistant that knows Heron.|Be concise.|You are an AI.|Answer the user's questions.|You help people to use Heron.|Be polite.|You are an expert.|Speak plainly.]"

#: Words that may be left out of a question.
STOP_WORDS = frozenset(
    [
        "the",
        "a",
        "an",
        "to",
        "of",
        "my",
        "do",
        "i",
        "is",
        "in",
        "it",
        "me",
        "for",
        "can",
        "could",
        "you",
        "how",
        "what",
        "which",
        "that",
        "there",
        "with",
        "on",
        "and",
        "please",
        "would",
        "should",
        "does",
        "are",
        "be",
        "have",
    ]
)

CONTRACTIONS = {"do not": "don't", "does not": "doesn't", "what is": "what's", "I am": "I'm", "it is": "it's", "cannot": "can't"}

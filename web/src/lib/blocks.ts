/** Markdown that grows: what is finished is read once, and only its end again. */
import { Marked, type Token, type TokenizerExtension } from 'marked'

/** As models write TeX; within single dollars nothing begins or ends with a space, and no digit follows: 5 $ and 6 $ are sums of money. */
const FORMULA = /^(?:\\\(.{1,2000}?\\\)|\\\[.{1,2000}?\\\]|\$\$.{1,2000}?\$\$|\$(?=[^\s$])(?:[^$\n\\]|\\.){1,500}?(?<=\S)\$(?!\d))/s

/** Markdown knows no formulas, and would take their backslashes and underscores for its own. */
const formula: TokenizerExtension = {
  name: 'formula',
  level: 'inline',
  start: (text) => text.search(/\\[([]|\$/),
  tokenizer(text) {
    const raw = FORMULA.exec(text)?.[0]
    return raw === undefined ? undefined : { type: 'formula', raw }
  },
}

const marked = new Marked({ gfm: true, extensions: [formula] })

/** Blocks at the end that more text may change. */
const OPEN = 2

export class Blocks {
  #done = ''
  #blocks: Token[] = []

  /** The blocks of a text. Those that stay keep their identity from one call to the next, while the text grows. */
  grow(text: string): Token[] {
    if (!text.startsWith(this.#done)) [this.#done, this.#blocks] = ['', []]
    const tail = lex(text.slice(this.#done.length))
    const solid = tail.flatMap((token, at) => (token.type === 'space' ? [] : [at]))
    const keep = solid.at(-OPEN) ?? 0
    for (const token of tail.slice(0, keep)) {
      this.#done += token.raw
      this.#blocks.push(token)
    }
    return [...this.#blocks, ...tail.slice(keep)]
  }
}

/** The blocks of a whole text. One that the reader of Markdown cannot take is a paragraph as it is. */
export function lex(text: string): Token[] {
  try {
    return marked.lexer(text)
  } catch {
    return [{ type: 'html', raw: text, text, block: true, pre: false }]
  }
}

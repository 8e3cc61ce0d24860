import { expect, test } from 'vitest'
import { Blocks, lex } from '../src/lib/blocks'
import { decoded, safeAddress } from '../src/lib/entities'

const TEXT = `# Title

A paragraph
that goes on, with *emphasis*.

Setext
------

- one
- two

  more of two

1. first

\`\`\`python
def f():

    return 1
\`\`\`

| a | b |
|---|---|
| 1 | 2 |

> quote
lazy

<details>
x
</details>

end`

const shape = (tokens: { type: string; raw: string }[]): string[] => tokens.filter((one) => one.type !== 'space').map((one) => `${one.type}:${one.raw.trim()}`)

test('a text that grows is read as the whole text is', () => {
  for (const size of [1, 3, 17]) {
    const blocks = new Blocks()
    let tokens = blocks.grow('')
    for (let at = 0; at <= TEXT.length + size; at += size) tokens = blocks.grow(TEXT.slice(0, at))
    expect(shape(tokens)).toEqual(shape(lex(TEXT)))
  }
})

test('what is finished is not read again', () => {
  const blocks = new Blocks()
  const before = blocks.grow('one\n\ntwo\n\nthree\n\nfour')
  expect(blocks.grow('one\n\ntwo\n\nthree\n\nfour five')[0]).toBe(before[0])
  expect(shape(blocks.grow('other'))).toEqual(['paragraph:other'])
})

test('addresses lead to the web and to mail alone', () => {
  expect(safeAddress('https://example.org/a?b')).toBe('https://example.org/a?b')
  expect(safeAddress('mailto:a@example.org')).toBe('mailto:a@example.org')
  for (const bad of ['javascript:x', 'JaVaScRiPt:x', 'java\nscript:x', '&#106;avascript:x', ' javascript:x', 'data:text/html,x', 'file:///x', '/x', 'x', '//x'])
    expect(safeAddress(bad)).toBeNull()
})

test('character references', () => {
  expect(decoded('&lt;b&gt; &amp;amp; &#65;&#x42; &nope; &#0; &constructor;')).toBe('<b> &amp; AB &nope; \ufffd &constructor;')
})

test('formulas stay as they are written, and money is none', () => {
  const raw = (text: string): string[] =>
    (lex(text)[0] as { tokens: { type: string; raw: string }[] }).tokens.filter((one) => one.type === 'formula').map((one) => one.raw)
  expect(raw('so \\(a_1 * b_1 * c\\) and $e^{i\\pi}_2 * 3$.')).toEqual(['\\(a_1 * b_1 * c\\)', '$e^{i\\pi}_2 * 3$'])
  expect(raw('\\[ \\int_0^1 x\\,dx \\]')).toEqual(['\\[ \\int_0^1 x\\,dx \\]'])
  expect(raw('$$ a \\\\ b $$')).toEqual(['$$ a \\\\ b $$'])
  expect(raw('5 $ and 6 $, $5 and $6, \\* and $x')).toEqual([])
})

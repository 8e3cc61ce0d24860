/**
 * Markdown as React's elements. No text becomes HTML anywhere: tags are shown as they are written, pictures as links, and links lead to
 * web pages and mail alone. So there is nothing to sanitise, and the page's policy lets the browser hold it to that.
 */
import type { Token, Tokens } from 'marked'
import { Fragment, memo, useMemo, useRef, type ReactNode } from 'react'
import { Blocks, lex } from '../lib/blocks'
import { decoded, safeAddress } from '../lib/entities'
import { CodeBlock } from './code'

/** How deep quotes and lists are drawn; what is deeper stands as text. */
const DEEPEST = 16

/** `live`: the text grows, and only its last blocks are read and drawn again. */
export function Markdown({ text, live = false }: { text: string; live?: boolean }): ReactNode {
  const growing = useRef<Blocks>(null)
  const tokens = useMemo(() => {
    if (!live) return lex(text)
    growing.current ??= new Blocks()
    return growing.current.grow(text)
  }, [text, live])
  return (
    <div className="prose">
      {tokens.map((token, at) => (
        <Block key={at} token={token} depth={0} />
      ))}
    </div>
  )
}

const Block = memo(function Block({ token, depth }: { token: Token; depth: number }): ReactNode {
  if (depth > DEEPEST) return <p className="as-written">{token.raw}</p>
  switch (token.type) {
    case 'space':
    case 'def':
      return null
    case 'heading':
      return heading(token as Tokens.Heading, depth)
    case 'paragraph':
      return <p dir="auto">{inline(token.tokens, depth)}</p>
    case 'text':
      return token.tokens ? inline(token.tokens, depth) : decoded((token as Tokens.Text).text)
    case 'code':
      return <CodeBlock code={(token as Tokens.Code).text} language={(token as Tokens.Code).lang ?? ''} />
    case 'blockquote':
      return <blockquote dir="auto">{blocks(token.tokens, depth)}</blockquote>
    case 'list':
      return list(token as Tokens.List, depth)
    case 'table':
      return table(token as Tokens.Table, depth)
    case 'hr':
      return <hr />
    default:
      return inlineOne(token, depth) ?? <p className="as-written">{token.raw.trim()}</p>
  }
})

function blocks(tokens: Token[] | undefined, depth: number): ReactNode {
  return tokens?.map((token, at) => <Block key={at} token={token} depth={depth + 1} />)
}

function heading({ depth: level, tokens }: Tokens.Heading, depth: number): ReactNode {
  const Tag = `h${Math.min(6, level + 2)}` as 'h3' // the page's own headings stand above
  return <Tag dir="auto" className={`level-${level}`}>{inline(tokens, depth)}</Tag>
}

function list({ ordered, start, items }: Tokens.List, depth: number): ReactNode {
  const drawn = items.map((item, at) => (
    <li key={at} className={item.task ? 'task' : undefined}>
      {item.task && <input type="checkbox" checked={Boolean(item.checked)} readOnly disabled aria-label={item.checked ? 'done' : 'to do'} />}
      {blocks(
        item.tokens.filter((token) => token.type !== 'checkbox'),
        depth,
      )}
    </li>
  ))
  return ordered ? (
    <ol dir="auto" start={Number(start) || 1}>
      {drawn}
    </ol>
  ) : (
    <ul dir="auto">{drawn}</ul>
  )
}

function table({ header, rows }: Tokens.Table, depth: number): ReactNode {
  const cell = (Tag: 'th' | 'td', { tokens, align }: Tokens.TableCell, at: number): ReactNode => (
    <Tag key={at} dir="auto" className={align ? `to-${align}` : undefined}>
      {inline(tokens, depth)}
    </Tag>
  )
  return (
    <div className="table" tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>{header.map((one, at) => cell('th', one, at))}</tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={at}>{row.map((one, column) => cell('td', one, column))}</tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

function inline(tokens: Token[] | undefined, depth: number): ReactNode {
  return tokens?.map((token, at) => <Fragment key={at}>{inlineOne(token, depth + 1) ?? token.raw}</Fragment>)
}

/** Null for what it does not know. */
function inlineOne(token: Token, depth: number): ReactNode | null {
  if (depth > DEEPEST) return token.raw
  switch (token.type) {
    case 'text':
      return token.tokens ? inline(token.tokens, depth) : decoded((token as Tokens.Text).text)
    case 'escape':
      return (token as Tokens.Escape).text
    case 'formula':
      return <span className="formula">{token.raw}</span>
    case 'strong':
      return <strong>{inline(token.tokens, depth)}</strong>
    case 'em':
      return <em>{inline(token.tokens, depth)}</em>
    case 'del':
      return <del>{inline(token.tokens, depth)}</del>
    case 'codespan':
      return <code className={token.raw.length < 32 ? 'whole' : undefined}>{(token as Tokens.Codespan).text}</code>
    case 'br':
      return <br />
    case 'link':
      return <Link address={(token as Tokens.Link).href}>{inline(token.tokens, depth)}</Link>
    case 'image':
      return <Link address={(token as Tokens.Image).href}>{(token as Tokens.Image).text || 'picture'}</Link>
    case 'html':
      return /^<br\s*\/?>$/i.test(token.raw.trim()) ? <br /> : null
    default:
      return null
  }
}

function Link({ address, children }: { address: string; children: ReactNode }): ReactNode {
  const safe = safeAddress(address)
  if (safe === null) return <>{children}</>
  return (
    <a href={safe} target="_blank" rel="noopener noreferrer">
      {children}
    </a>
  )
}

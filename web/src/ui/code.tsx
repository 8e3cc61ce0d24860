/** A block of code: its language, a button that copies it, and colours once they are there. */
import type { RootContent } from 'hast'
import { memo, useDeferredValue, useEffect, useMemo, type ReactNode } from 'react'
import { Store, useStore } from '../lib/store'
import { CopyButton } from './copy'

type Highlight = (language: string, code: string) => RootContent[] | null

const highlighter = new Store<Highlight | null>(null)
let asked = false

/** Longer code stays as it is: colours would hold the page up. */
const LONGEST = 30_000

export const CodeBlock = memo(function CodeBlock({ code, language }: { code: string; language: string }): ReactNode {
  const name = /^[\w+#.-]+/.exec(language)?.[0]?.toLowerCase() ?? ''
  return (
    <figure className="code">
      <figcaption>
        <span>{name || 'text'}</span>
        <CopyButton text={code} label="Copy code" words />
      </figcaption>
      <pre tabIndex={0}>
        <code>
          <Coloured code={code} language={name} />
        </code>
      </pre>
    </figure>
  )
})

function Coloured({ code, language }: { code: string; language: string }): ReactNode {
  const highlight = useStore(highlighter)
  useEffect(() => {
    if (language) load()
  }, [language])
  const later = useDeferredValue(code) // while code grows, colours come when there is time for them
  const tree = useMemo(() => (highlight && language && later.length < LONGEST ? highlight(language, later) : null), [highlight, language, later])
  if (!tree) return code
  return (
    <>
      {tree.map(drawn)}
      {code.startsWith(later) && code.slice(later.length)}
    </>
  )
}

function load(): void {
  if (asked) return
  asked = true
  import('../lib/highlight').then(
    (module) => highlighter.set(module.highlight),
    () => (asked = false), // the server is away: another block asks again
  )
}

function drawn(node: RootContent, at: number): ReactNode {
  if (node.type === 'text') return node.value
  if (node.type !== 'element') return null
  const names = node.properties['className']
  return (
    <span key={at} className={Array.isArray(names) ? names.join(' ') : undefined}>
      {node.children.map(drawn)}
    </span>
  )
}

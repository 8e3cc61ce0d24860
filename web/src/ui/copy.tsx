/** Copies a text, and says that it did. */
import { useEffect, useState, type ReactNode } from 'react'
import { notify } from '../lib/notices'
import { Icon } from './icons'

export function CopyButton({ text, label, words = false }: { text: string; label: string; words?: boolean }): ReactNode {
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), 1600)
    return () => clearTimeout(timer)
  }, [copied])
  const copy = async (): Promise<void> => {
    if (await copyText(text)) setCopied(true)
    else notify('The browser does not let this page copy; select the text instead.', 'error')
  }
  return (
    <button type="button" className={words ? 'word-button' : 'icon-button'} aria-label={label} title={label} onClick={() => void copy()}>
      <Icon name={copied ? 'check' : 'copy'} />
      {words && <span>{copied ? 'Copied' : 'Copy'}</span>}
      <span className="unseen" role="status">
        {copied ? 'Copied' : ''}
      </span>
    </button>
  )
}

async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text)
    return true
  } catch {
    // Pages of plain HTTP that are not this machine's have no clipboard: the old way.
    const area = document.createElement('textarea')
    area.value = text
    document.body.append(area)
    area.select()
    const done = document.execCommand('copy')
    area.remove()
    return done
  }
}

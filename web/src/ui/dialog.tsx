/** A dialog of the browser's own: it holds the focus, Escape closes it. */
import { useLayoutEffect, useRef, type ReactNode } from 'react'
import { show } from '../lib/view'

export function Dialog({ label, className = '', children }: { label: string; className?: string; children: ReactNode }): ReactNode {
  const element = useRef<HTMLDialogElement>(null)
  useLayoutEffect(() => {
    // The focus goes back as the dialog goes, not after what is pressed next.
    const before = document.activeElement as HTMLElement | null
    if (!element.current?.open) element.current?.showModal()
    return () => {
      if (before?.isConnected) before.focus()
    }
  }, [])
  return (
    <dialog
      ref={element}
      className={`dialog ${className}`}
      aria-label={label}
      onClose={() => show({ dialog: null })}
      onKeyDown={(event) => event.stopPropagation()}
      onClick={(event) => {
        if (event.target === element.current) element.current?.close()
      }}
    >
      <div className="dialog-inner">{children}</div>
    </dialog>
  )
}

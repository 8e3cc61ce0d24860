/** Drawings, as lines of one width on a field of 24. */
import type { ReactNode } from 'react'

const SHAPES = {
  plus: 'M12 5v14M5 12h14',
  search: 'M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14Zm5-2 4.5 4.5',
  sidebar: 'M4 6.500A1.5 1.5 0 0 1 5.5 5h13A1.5 1.5 0 0 1 20 6.500v11a1.5 1.5 0 0 1-1.5 1.500h-13A1.5 1.5 0 0 1 4 17.500zM9.5 5v14',
  send: 'M12 19V5.500M6 11l6-6 6 6',
  stop: 'M7.5 7.500h9v9h-9z',
  copy: 'M9 9.500A1.5 1.5 0 0 1 10.5 8h7A1.5 1.5 0 0 1 19 9.500v8a1.5 1.5 0 0 1-1.5 1.500h-7A1.5 1.5 0 0 1 9 17.500zM15 8V6.500A1.5 1.5 0 0 0 13.5 5h-7A1.5 1.5 0 0 0 5 6.500v8A1.5 1.5 0 0 0 6.5 16H9',
  check: 'm5 12.5 4.5 4.500L19 7.5',
  again: 'M19 12a7 7 0 1 1-2.2-5.100M19 4.500V8.500h-4',
  edit: 'm14.5 6.5 3 3M5 19l.8-3.800L16 5a1.6 1.6 0 0 1 2.2 0l.8.8a1.6 1.6 0 0 1 0 2.200L8.8 18.200z',
  trash: 'M5 7h14M10 11v5.500M14 11v5.500M6.5 7l.8 11.500A1.5 1.5 0 0 0 8.8 20h6.400a1.5 1.5 0 0 0 1.5-1.500L17.5 7M9.5 7V5.500A1.5 1.5 0 0 1 11 4h2a1.5 1.5 0 0 1 1.5 1.500V7',
  left: 'm14.5 6-6 6 6 6',
  right: 'm9.5 6 6 6-6 6',
  down: 'm6 9.5 6 6 6-6',
  more: 'M6 12h.01M12 12h.01M18 12h.01',
  close: 'm6.5 6.5 11 11M17.5 6.500l-11 11',
  sliders: 'M4 8h8M17 8h3M4 16h3M12 16h8M14.5 10.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5ZM9.5 18.500a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z',
  lens: 'M4 8V5.500A1.5 1.5 0 0 1 5.5 4H8M16 4h2.500A1.5 1.5 0 0 1 20 5.500V8M20 16v2.500a1.5 1.5 0 0 1-1.5 1.500H16M8 20H5.500A1.5 1.5 0 0 1 4 18.500V16M8 9.500h8M8 12h5M8 14.500h6.5',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 3v1.500M12 19.500V21M4.9 4.900l1.1 1.100M18 18l1.1 1.100M3 12h1.500M19.5 12H21M4.9 19.1 6 18M18 6l1.1-1.1',
  moon: 'M19.5 14.500A8 8 0 0 1 9.5 4.500a8 8 0 1 0 10 10Z',
  half: 'M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16ZM12 4v16M12 8h5.500M12 12h7.500M12 16h6',
  key: 'M14.5 14a4.5 4.5 0 1 0-4.3-3.200L4 17v3h3.500v-2H9.500v-2h2l1.2-1.300c.6.2 1.2.3 1.8.3ZM16 8.500h.01',
  upload: 'M12 16V5M7 9.5 12 4.500l5 5M5 15v3.500A1.5 1.5 0 0 0 6.5 20h11a1.5 1.5 0 0 0 1.5-1.500V15',
  download: 'M12 4v11.500M7 11l5 5 5-5M5 16v2.500A1.5 1.5 0 0 0 6.5 20h11a1.5 1.5 0 0 0 1.5-1.500V16',
  fork: 'M7 8.500v7M7 8.500a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM7 19.500a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM17 8.500a2 2 0 1 0 0-4 2 2 0 0 0 0 4ZM17 8.500c0 4-10 2-10 7',
  keyboard: 'M3.5 8A1.5 1.5 0 0 1 5 6.500h14A1.5 1.5 0 0 1 20.5 8v8a1.5 1.5 0 0 1-1.5 1.500H5A1.5 1.5 0 0 1 3.5 16zM7 10h.01M10.3 10h.01M13.6 10h.01M17 10h.01M8 14h8',
  chat: 'M5 6.500A1.5 1.5 0 0 1 6.5 5h11A1.5 1.5 0 0 1 19 6.500v8a1.5 1.5 0 0 1-1.5 1.500H11l-4 3.500V16h-.5A1.5 1.5 0 0 1 5 14.500z',
} as const

export type IconName = keyof typeof SHAPES

export function Icon({ name }: { name: IconName }): ReactNode {
  return (
    <svg className="icon" viewBox="0 0 24 24" aria-hidden="true">
      <path d={SHAPES[name]} />
    </svg>
  )
}

/** The bird, as it stands and waits. */
export function Heron({ className }: { className?: string }): ReactNode {
  return (
    <svg className={`heron ${className ?? ''}`} viewBox="0 0 120 150" aria-hidden="true">
      <path className="heron-beak" d="M73 22 112 29.5 73 33.500z" />
      <path
        className="heron-body"
        d="M73 21c-7-8-21-7-25 3-4 9.5 2.5 16 9 22.5 5.5 5.5 7.5 10 5 15-2.3 4.5-8 6.5-14 8.500C33 75 20 84 8 101c13-3 25-3 37-4.5 16-2 28-10 31-24 2.5-12.5-5-20.5-11-28-3.6-4.5-4.5-8-1-11 3-2.5 6.5-2 9 0z"
      />
      <path className="heron-crest" d="M55 17c-9-4-18-3-25 1 8-.5 14 1 19.5 5.5" />
      <path className="heron-leg" d="M50 96.5 52.5 118 51 142M58.5 94 63 116.5 57 137" />
      <circle className="heron-eye" cx="65" cy="25" r="2.3" />
    </svg>
  )
}

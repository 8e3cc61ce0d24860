import { StrictMode } from 'react'
import { createRoot } from 'react-dom/client'
import './styles/base.css'
import './styles/layout.css'
import './styles/sidebar.css'
import './styles/thread.css'
import './styles/prose.css'
import './styles/composer.css'
import './styles/panels.css'
import './styles/dialogs.css'
import { loadConversations } from './lib/conversations'
import { watchServer } from './lib/server'
import { App } from './ui/app'

watchServer()
void loadConversations()
createRoot(document.getElementById('root')!).render(
  <StrictMode>
    <App />
  </StrictMode>,
)

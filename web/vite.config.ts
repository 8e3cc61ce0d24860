import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

// `npm run dev` shows the sources as they are edited, and asks a Heron that runs beside it.
const heron = process.env['HERON_URL'] ?? 'http://127.0.0.1:11435'

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: '../heron/page',
    emptyOutDir: true,
    target: 'es2023',
    assetsInlineLimit: 0, // data: URLs are not allowed by the page's policy
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: Object.fromEntries(['/v1', '/health', '/inspect'].map((path) => [path, heron])) },
})

// SPDX-License-Identifier: GPL-2.0-only
import { defineConfig } from 'vite';

// The daemon's Content-Security-Policy allows nothing inline and nothing from elsewhere.
export default defineConfig({
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact', legalComments: 'none' },
  build: {
    target: 'es2020',
    outDir: process.env.CORDON_WEB_DIST ?? 'dist',
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': { target: process.env.CORDON_API ?? 'http://127.0.0.1:8080' } } },
});

import { defineConfig } from "vitest/config";

// `npm run dev` serves the sources and passes the API on to a server on its usual port.
const server = "http://127.0.0.1:8000";

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    outDir: "dist",
    emptyOutDir: true,
    assetsInlineLimit: 0, // data: URLs would need an exception in the Content-Security-Policy
    modulePreload: { polyfill: false }, // nor may a script stand in the page itself
    reportCompressedSize: true,
  },
  server: {
    proxy: { "/api": server, "/ws": { target: server, ws: true } },
  },
  test: { include: ["test/**/*.test.ts"], environment: "node", css: true },
});

// CloudFront, as far as its functions notice: `node edge.mjs` reads {functions: {name: code}} in its first line.
//
// Then either lines {function, event}, each answered with a line: what the function returned; or a line {serve: {origin,
// request, response}}, answered with {url}: a CDN in front of the origin that runs one function on every request and one
// on every answer below 400, as CloudFront does, and keeps what the answers allow.

import { createServer } from "node:http"
import { createInterface } from "node:readline"

const functions = {}

// The runtime has no modules but its own.
function load(code) {
  const selected = { selectRequestOriginById: (id) => (selected.origin = id) }
  const body = code.replace("import cf from 'cloudfront';", "")
  const handler = new Function("cf", `"use strict";\n${body}\nreturn handler`)(selected)
  return (event) => {
    delete selected.origin
    const returned = handler(event)
    return selected.origin === undefined ? returned : { ...returned, origin: selected.origin }
  }
}

function headersOf(incoming) {
  return Object.fromEntries([...incoming].map(([name, value]) => [name.toLowerCase(), { value }]))
}

function serve({ origin, request: onRequest, response: onResponse }) {
  const kept = new Map()
  const counts = { hits: 0, misses: 0 }
  const server = createServer(async (incoming, outgoing) => {
    if (incoming.url === "/counts") return outgoing.end(JSON.stringify(counts))
    const url = new URL(incoming.url, "http://edge")
    const querystring = Object.fromEntries([...url.searchParams].map(([name, value]) => [name, { value }]))
    const event = {
      version: "1.0",
      request: { method: incoming.method, uri: url.pathname, querystring, headers: headersOf(Object.entries(incoming.headers)) },
    }
    const asked = functions[onRequest](event)
    let response
    let body = Buffer.alloc(0)
    if (asked.statusCode) {
      response = asked
    } else {
      const key = asked.uri
      let found = kept.get(key)
      if (found) {
        counts.hits += 1
      } else {
        counts.misses += 1
        const answer = await fetch(origin + key)
        found = { statusCode: answer.status, headers: headersOf(answer.headers), body: Buffer.from(await answer.arrayBuffer()) }
        if (answer.status === 200 && /max-age=[1-9]/.test(answer.headers.get("cache-control") ?? "")) kept.set(key, found)
      }
      body = found.body
      response = { statusCode: found.statusCode, headers: structuredClone(found.headers) }
      if (found.statusCode < 400) response = functions[onResponse]({ ...event, request: asked, response })
    }
    const headers = Object.entries(response.headers ?? {}).map(([name, { value }]) => [name, value])
    outgoing.writeHead(response.statusCode, Object.fromEntries(headers.filter(([name]) => name !== "transfer-encoding")))
    outgoing.end(incoming.method === "HEAD" ? undefined : body)
  })
  server.listen(0, "127.0.0.1", () => say({ url: `http://127.0.0.1:${server.address().port}` }))
}

function say(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`)
}

for await (const line of createInterface({ input: process.stdin })) {
  const told = JSON.parse(line)
  if (told.functions) for (const [name, code] of Object.entries(told.functions)) functions[name] = load(code)
  else if (told.serve) serve(told.serve)
  else say(functions[told.function](told.event))
}
process.exit(0)

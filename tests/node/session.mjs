// A session of the reference client against the server that DURABLE_STREAMS_URL names; prints what it saw as JSON.
//
// It creates a stream, appends in batches with the idempotent producer while one reader follows by SSE and another by
// long-poll, forks it half-way, closes both, and reads everything back.

import { DurableStream, IdempotentProducer, stream } from "@durable-streams/client"

const base = process.env.DURABLE_STREAMS_URL
if (!base) throw new Error("DURABLE_STREAMS_URL names no server")
const MESSAGES = 500

// Resolves with all items once the stream is closed and the reader has seen it.
async function follow(url, live) {
  const items = []
  const response = await stream({ url, offset: "-1", live })
  for await (const item of response.jsonStream()) items.push(item)
  return { items, closed: response.streamClosed }
}

const errors = []
const url = `${base}/session/source`
const source = await DurableStream.create({ url, contentType: "application/json" })
const followers = [follow(url, "sse"), follow(url, "long-poll")]
const producer = new IdempotentProducer(source, "session", {
  lingerMs: 2,
  maxBatchBytes: 2000,
  onError: (error) => errors.push(String(error)),
})
for (let n = 0; n < MESSAGES / 2; n++) producer.append(JSON.stringify({ n }))
await producer.flush()
const middle = (await source.head()).offset
for (let n = MESSAGES / 2; n < MESSAGES; n++) producer.append(JSON.stringify({ n }))
await producer.flush()
await producer.close()

const forkUrl = `${base}/session/fork`
const fork = await DurableStream.create({
  url: forkUrl,
  contentType: "application/json",
  headers: { "Stream-Forked-From": "/session/source", "Stream-Fork-Offset": middle },
})
await fork.append(JSON.stringify({ n: "fork" }))
await fork.close()

const [sse, longPoll] = await Promise.all(followers)
const caughtUp = await (await stream({ url, offset: "-1", live: false })).json()
const forked = await (await stream({ url: forkUrl, offset: "-1", live: false })).json()
const closed = (await fork.head()).streamClosed
await fork.delete()
const deleted = (await fetch(forkUrl, { method: "HEAD" })).status === 404
console.log(JSON.stringify({ errors, sse, longPoll, caughtUp, forked, closed, deleted }))

// The public server suite, against the server that DURABLE_STREAMS_URL names. (vitest itself sets BASE_URL to "/".)

import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.DURABLE_STREAMS_URL
if (!baseUrl) throw new Error("DURABLE_STREAMS_URL names no server")

runConformanceTests({ baseUrl, longPollTimeoutMs: 2000, subscriptions: true })

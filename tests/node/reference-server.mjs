// Starts the reference server of the protocol, in memory or on files, and prints `listening <port>` once it serves.
//
//   node reference-server.mjs [--port N] [--hold MS] [--data DIR]
//
// --port 0 takes a free port. --hold is how long a long-poll waits, and the interval of SSE keep-alives, in
// milliseconds. It serves the fault injection of the client cases under /_test/inject-error by itself.
import { parseArgs } from "node:util"
import { DurableStreamTestServer } from "@durable-streams/server"

const { values } = parseArgs({
  options: {
    port: { type: "string", default: "0" },
    hold: { type: "string", default: "500" },
    data: { type: "string" },
  },
})

const server = new DurableStreamTestServer({
  port: Number(values.port),
  longPollTimeout: Number(values.hold),
  dataDir: values.data,
})
const url = await server.start()
console.log(`listening ${new URL(url).port}`)

for (const signal of ["SIGINT", "SIGTERM"]) {
  process.on(signal, async () => {
    await server.stop()
    process.exit(0)
  })
}

// A gRPC client that shares only the schema with the service: node client.js HOST:PORT IMAGE [x1,y1,x2,y2]
//
// Prints the answer as one line of JSON. After an error it prints the error's code instead, and exits with status 1.

'use strict'

const fs = require('node:fs')
const path = require('node:path')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const PROTO = path.join(__dirname, '..', '..', 'proto', 'landmarks', 'v1', 'landmarks.proto')

function connect(address) {
  const definition = loader.loadSync(PROTO, { keepCase: true, longs: Number, defaults: true, oneofs: true })
  const { Landmarks } = grpc.loadPackageDefinition(definition).landmarks.v1
  return new Landmarks(address, grpc.credentials.createInsecure())
}

// landmarks.v1.DetectRequest -> landmarks.v1.DetectResponse
function detect(client, request) {
  const metadata = new grpc.Metadata()
  metadata.set('x-request-id', 'from-node')
  const options = { deadline: Date.now() + 60_000 }
  return new Promise((resolve, reject) => {
    client.Detect(request, metadata, options, (error, answer) => (error ? reject(error) : resolve(answer)))
  })
}

async function main([address, image, box]) {
  const client = connect(address)
  const boxes = box ? [Object.fromEntries(box.split(',').map((v, i) => [['x1', 'y1', 'x2', 'y2'][i], Number(v)]))] : []
  try {
    const answer = await detect(client, { image: fs.readFileSync(image), boxes })
    console.log(JSON.stringify({ request_id: answer.request_id, image: answer.image, faces: answer.faces }))
  } catch (error) {
    const [code] = error.metadata?.get('landmarks-error-code') ?? []
    console.log(JSON.stringify({ code, status: error.code, detail: error.details }))
    process.exitCode = 1
  } finally {
    client.close()
  }
}

main(process.argv.slice(2))

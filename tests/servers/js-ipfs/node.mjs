// A node of js-ipfs that serves the RPC API of kubo on 127.0.0.1, for tests.
// usage: node node.mjs REPOSITORY PORT
//
// It has no network and does not start its exchange of blocks: of a block that it lost it says so
// at once, as kubo does when it is asked with offline=true (which js-ipfs does not know).

if (Promise.withResolvers === undefined) { // before node 22
  Promise.withResolvers = function () {
    const made = {}
    made.promise = new this((resolve, reject) => Object.assign(made, { resolve, reject }))
    return made
  }
}

// js-ipfs forgets to catch what it has already answered.
process.on('unhandledRejection', error => console.error('nobody caught:', error))
process.on('uncaughtException', error => console.error('nobody caught:', error))

const [, , repository, port] = process.argv
const { create } = await import('ipfs-core')
const { HttpApi } = await import('ipfs-http-server')

const node = await create({
  repo: repository,
  offline: true,
  start: false,
  silent: true,
  preload: { enabled: false },
  init: { emptyRepo: true, algorithm: 'Ed25519' },
  config: {
    Addresses: { Swarm: [], API: `/ip4/127.0.0.1/tcp/${port}`, Gateway: '', RPC: '' },
    Bootstrap: [],
    Discovery: { MDNS: { Enabled: false }, webRTCStar: { Enabled: false } }
  }
})
await new HttpApi(node).start()

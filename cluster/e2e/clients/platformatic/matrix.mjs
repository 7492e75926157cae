// Runs @platformatic/kafka against a broker whose num.partitions is 3.
//
// Arguments: DIRECTORY BOOTSTRAP RECORDS, the directory being the one that it is installed in. Every check prints one
// line of JSON; the exit code is 1 if one failed.
import zlib from 'node:zlib'

const [directory, bootstrap, count] = process.argv.slice(2)
const { Admin, Consumer, Producer, stringDeserializers, stringSerializers } = await import(directory + '/node_modules/@platformatic/kafka/dist/index.js')

const records = Number(count)
const base = { clientId: 'matrix', bootstrapBrokers: [bootstrap], metadataMaxAge: 500 }
const admin = new Admin(base)
let failed = false

async function check(name, run) {
  const start = Date.now()
  let ok = true
  let detail
  let timer
  try {
    const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('not done within 60 s')), 60000) })
    detail = await Promise.race([run(), late])
  } catch (e) {
    ok = false
    failed = true
    detail = String(e.stack).split('\n').slice(0, 4).join(' | ') + (e.errors ? ' ' + e.errors.map(String).join('; ') + ' ' + String(e.errors[0]?.cause) : '')
  }
  clearTimeout(timer)
  console.log(JSON.stringify({ check: name, ok, ms: Date.now() - start, detail: detail ?? '' }))
}

function want(ok, what) {
  if (!ok) throw new Error(what)
}

const value = (topic, i) => `${topic}-${i}-${'x'.repeat(i % 97)}`
const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

async function until(what, holds) {
  const end = Date.now() + 30000
  while (!(await holds())) {
    want(Date.now() < end, `${what} did not come within 30 s`)
    await pause(2)
  }
}

async function send(topic, from, to, options, more = () => ({})) {
  const p = new Producer({ ...base, serializers: stringSerializers, ...options })
  for (let i = from; i < to;) {
    const messages = []
    for (const end = Math.min(to, i + 1000); i < end; i++) messages.push({ topic, key: `k${i}`, value: value(topic, i), headers: { n: `k${i}` }, ...more(i) })
    await p.send({ messages })
  }
  await p.close()
}

// Seen checks what is consumed: once, in order, as it was sent.
class Seen {
  times = new Set()
  last = new Map()
  problem = null

  constructor(topic) {
    this.topic = topic
  }

  add(m) {
    const i = Number(m.key.slice(1))
    const where = `record ${i} at ${m.partition}/${m.offset}`
    let problem
    if (m.value !== value(this.topic, i)) problem = `${where} is ${m.value}`
    else if (m.headers.get('n') !== `k${i}`) problem = `${where} has headers ${[...m.headers]}`
    else if (this.times.has(i)) problem = `${where} again`
    else if ((this.last.get(m.partition) ?? -1) >= i) problem = `${where} after ${this.last.get(m.partition)}`
    this.problem ??= problem
    this.times.add(i)
    this.last.set(m.partition, i)
  }

  async wait(n) {
    await until(`${n} records of ${this.topic}`, () => this.times.size >= n || this.problem)
    want(!this.problem, this.problem)
    want(this.times.size === n, `${this.times.size} of ${n} records`)
  }
}

async function member(groupId, seen, options = {}) {
  const c = new Consumer({ ...base, groupId, deserializers: stringDeserializers, heartbeatInterval: 100, sessionTimeout: 6000, rebalanceTimeout: 6000, maxWaitTime: 50, ...options })
  c.stream = await c.consume({ topics: [seen.topic], mode: 'committed', fallbackMode: 'earliest', autocommit: true, ...options })
  c.stream.on('data', m => seen.add(m))
  c.stream.on('error', e => { seen.problem ??= String(e.stack) })
  c.held = () => (c.assignments ?? []).reduce((n, a) => n + a.partitions.length, 0)
  c.leave = async () => { await c.stream.close(); await c.close(true) }
  return c
}

await check('create, describe, configure, delete topics', async () => {
  const created = await admin.createTopics({ topics: ['made', 'gone'], partitions: 5, replicas: 1, configs: [{ name: 'retention.ms', value: '3600000' }] })
  want(created.length === 2 && created[0].partitions === 5 && created[0].configuration['retention.ms'] === '3600000', JSON.stringify(created))
  const metadata = await admin.metadata({ topics: ['made'] })
  want(metadata.topics.get('made').partitions.length === 5, 'partitions')
  const configs = await admin.describeConfigs({ resources: [{ resourceType: 2, resourceName: 'made', configurationKeys: ['retention.ms'] }] })
  want(configs[0].configs[0].value === '3600000', JSON.stringify(configs))
  await admin.createPartitions({ topics: [{ name: 'made', count: 7, assignments: null }] })
  await admin.deleteTopics({ topics: ['gone'] })
  const topics = await admin.listTopics()
  want(topics.includes('made') && !topics.includes('gone'), JSON.stringify(topics))
})

// Node has ZSTD since 22.15.
const codecs = ['none', 'gzip', 'snappy', 'lz4', ...(zlib.zstdCompressSync ? ['zstd'] : [])]
for (const compression of codecs) {
  for (const [name, options] of Object.entries({ 0: { acks: 0 }, 1: { acks: 1 }, all: { acks: -1 }, idempotent: { acks: -1, idempotent: true } })) {
    await check(`produce ${compression} acks=${name}, consume`, async () => {
      const topic = `${compression}-${name}`
      await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 })
      await send(topic, 0, 2000, { compression, ...options })
      const seen = new Seen(topic)
      const c = await member(`g-${topic}`, seen)
      await seen.wait(2000)
      await c.leave()
      return '2000 records'
    })
  }
}

await check('group: two members, one leaves, one joins', async () => {
  const topic = 'big'
  await admin.createTopics({ topics: [topic], partitions: 4, replicas: 1 })
  const seen = new Seen(topic)
  const [a, b] = await Promise.all([member('g', seen), member('g', seen)])
  await until('two members', () => a.held() === 2 && b.held() === 2)
  await send(topic, 0, records / 2, { compression: 'lz4', idempotent: true, acks: -1 })
  await seen.wait(records / 2)
  const committed = async n => {
    const list = await admin.listConsumerGroupOffsets({ groups: [{ groupId: 'g', topics: [{ name: topic, partitionIndexes: [0, 1, 2, 3] }] }] })
    return list[0].topics[0].partitions.reduce((sum, p) => sum + Math.max(0, Number(p.committedOffset)), 0) === n
  }
  await until('the first half is committed', () => committed(records / 2))
  await b.leave()
  await until('one member', () => a.held() === 4)
  const c = await member('g', seen)
  await until('a new member', () => a.held() === 2 && c.held() === 2)
  // A stream still gives out what comes for a fetch that it sent before its partition was taken, against Kafka too.
  await pause(300)
  await send(topic, records / 2, records, { compression: 'lz4', idempotent: true, acks: -1 })
  await seen.wait(records)
  await until('all is committed', () => committed(records))
  const groups = await admin.describeGroups({ groups: ['g'] })
  want(groups.get('g').state === 'STABLE' && groups.get('g').members.size === 2, JSON.stringify([...groups]))
  await a.leave()
  await c.leave()
  await admin.deleteGroups({ groups: ['g'] })
  want(!(await admin.listGroups()).has('g'), 'the group is there')
  return `${records} records`
})

await check('offsets: from, by time, start, end', async () => {
  const topic = 'seek'
  await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
  await send(topic, 0, 1000, { acks: -1 }, i => ({ partition: 0, timestamp: BigInt(1600000000000 + 1000 * i) }))
  const seen = new Seen(topic)
  const c = await member('seek', seen, { mode: 'manual', offsets: [{ topic, partition: 0, offset: 517n }], autocommit: false })
  await seen.wait(1000 - 517)
  want(!seen.times.has(516) && seen.times.has(517), 'a start at 517')
  for (const [timestamp, offset] of [[-2n, 0n], [-1n, 1000n], [1600000333000n, 333n], [1600000333001n, 334n]]) {
    const found = await c.listOffsets({ topics: [topic], timestamp })
    want(found.get(topic)[0] === offset, `${timestamp}: ${found.get(topic)}`)
  }
  await c.leave()
})

await check('commit and restart', async () => {
  const topic = 'commits'
  await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1 })
  await send(topic, 0, 100, { acks: -1 })
  for (const [from, commit] of [[0, 10], [10, 20], [20, 100]]) {
    const seen = new Seen(topic)
    const c = await member('commits', seen, { autocommit: false })
    await seen.wait(100 - from)
    want(seen.times.has(from), `start at ${from}`)
    await c.commit({ offsets: [{ topic, partition: 0, offset: BigInt(commit), leaderEpoch: -1 }] })
    await c.leave()
  }
})

await admin.close()
process.exit(failed ? 1 : 0)

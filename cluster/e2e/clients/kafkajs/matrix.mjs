// Runs kafkajs against a broker whose num.partitions is 3.
//
// Arguments: DIRECTORY BOOTSTRAP RECORDS, the directory being the one that kafkajs is installed in. Every check prints
// one line of JSON; the exit code is 1 if one failed.
import { createRequire } from 'node:module'

const [directory, bootstrap, count] = process.argv.slice(2)
const require = createRequire(directory + '/')
const kafkajs = require('kafkajs')
const { Kafka, CompressionTypes, CompressionCodecs, ConfigResourceTypes, logLevel } = kafkajs
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
const LZ4 = require('kafkajs-lz4')
CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec

const records = Number(count)
const kafka = new Kafka({ brokers: [bootstrap], logLevel: logLevel.NOTHING, retry: { initialRetryTime: 50 } })
const admin = kafka.admin()
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
    detail = String(e.stack).split('\n').slice(0, 4).join(' | ')
  }
  clearTimeout(timer)
  console.log(JSON.stringify({ check: name, ok, ms: Date.now() - start, detail: detail ?? '' }))
}

function want(ok, what) {
  if (!ok) throw new Error(what)
}

const value = (topic, i) => `${topic}-${i}-${'x'.repeat(i % 97)}`
const message = (topic, i) => ({ key: `k${i}`, value: value(topic, i), headers: { n: `k${i}` } })

async function send(topic, from, to, compression, acks, idempotent) {
  const p = kafka.producer({ idempotent, maxInFlightRequests: 1 })
  await p.connect()
  for (let i = from; i < to;) {
    const messages = []
    for (const end = Math.min(to, i + 1000); i < end; i++) messages.push(message(topic, i))
    await p.send({ topic, messages, compression, acks })
  }
  await p.disconnect()
}

// Seen checks what is consumed: once, in order, as it was sent.
class Seen {
  times = new Set()
  last = new Map()
  problem = null

  constructor(topic) {
    this.topic = topic
  }

  add(partition, m) {
    const i = Number(m.key.toString().slice(1))
    const where = `record ${i} at ${partition}/${m.offset}`
    let problem
    if (m.value.toString() !== value(this.topic, i)) problem = `${where} is ${m.value}`
    else if (m.headers.n?.toString() !== `k${i}`) problem = `${where} has headers ${JSON.stringify(m.headers)}`
    else if (this.times.has(i)) problem = `${where} again`
    else if ((this.last.get(partition) ?? -1) >= i) problem = `${where} after ${this.last.get(partition)}`
    this.problem ??= problem
    this.times.add(i)
    this.last.set(partition, i)
  }

  async wait(n) {
    while (this.times.size < n && !this.problem) await pause(2)
    want(!this.problem, this.problem)
    want(this.times.size === n, `${this.times.size} of ${n} records`)
  }
}

const pause = ms => new Promise(resolve => setTimeout(resolve, ms))

// member joins a group. It works on whole batches, and commits them.
async function member(groupId, seen, topics = [seen.topic]) {
  const c = kafka.consumer({ groupId, heartbeatInterval: 100, sessionTimeout: 6000, rebalanceTimeout: 6000, maxWaitTimeInMs: 50, metadataMaxAge: 500 })
  c.assigned = 0
  c.on(c.events.GROUP_JOIN, ({ payload }) => { c.assigned = Object.values(payload.memberAssignment).flat().length })
  await c.connect()
  await c.subscribe({ topics, fromBeginning: true })
  await c.run({
    eachBatchAutoResolve: true,
    eachBatch: async ({ batch }) => {
      for (const m of batch.messages) (seen.of?.(batch.topic) ?? seen).add(batch.partition, m)
    }
  })
  return c
}

async function until(what, holds) {
  const end = Date.now() + 30000
  while (!holds()) {
    want(Date.now() < end, `${what} did not come within 30 s`)
    await pause(2)
  }
}

await admin.connect()

await check('create, describe, configure, delete topics', async () => {
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic: 'made', numPartitions: 5, configEntries: [{ name: 'retention.ms', value: '3600000' }] }, { topic: 'gone' }] })
  want(!(await admin.createTopics({ topics: [{ topic: 'made' }] })), 'made twice')
  const { topics } = await admin.fetchTopicMetadata({ topics: ['made'] })
  want(topics[0].partitions.length === 5, JSON.stringify(topics))
  const resources = [{ type: ConfigResourceTypes.TOPIC, name: 'made', configNames: ['retention.ms'] }]
  const described = await admin.describeConfigs({ resources })
  want(described.resources[0].configEntries[0].configValue === '3600000', JSON.stringify(described))
  await admin.alterConfigs({ resources: [{ type: ConfigResourceTypes.TOPIC, name: 'made', configEntries: [{ name: 'retention.ms', value: '7200000' }] }] })
  want((await admin.describeConfigs({ resources })).resources[0].configEntries[0].configValue === '7200000', 'altered')
  await admin.createPartitions({ topicPartitions: [{ topic: 'made', count: 7 }] })
  want((await admin.fetchTopicMetadata({ topics: ['made'] })).topics[0].partitions.length === 7, 'partitions')
  await admin.deleteTopics({ topics: ['gone'] })
  want(!(await admin.listTopics()).includes('gone'), 'gone is there')
  want((await admin.describeCluster()).brokers.length === 1, 'brokers')
})

for (const [codec, compression] of [['none', CompressionTypes.None], ['gzip', CompressionTypes.GZIP], ['snappy', CompressionTypes.Snappy], ['lz4', CompressionTypes.LZ4]]) {
  for (const [name, acks, idempotent] of [['0', 0, false], ['1', 1, false], ['all', -1, false], ['idempotent', -1, true]]) {
    await check(`produce ${codec} acks=${name}, consume`, async () => {
      const topic = `${codec}-${name}`
      await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 3 }] })
      await send(topic, 0, 2000, compression, acks, idempotent)
      const seen = new Seen(topic)
      const c = await member(`g-${topic}`, seen)
      await seen.wait(2000)
      await c.disconnect()
      return '2000 records'
    })
  }
}

await check('group: two members, one leaves, one joins', async () => {
  const topic = 'big'
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 4 }] })
  const seen = new Seen(topic)
  const [a, b] = await Promise.all([member('g', seen), member('g', seen)])
  await until('two members', () => a.assigned === 2 && b.assigned === 2)
  await send(topic, 0, records / 2, CompressionTypes.GZIP, -1, true)
  await seen.wait(records / 2)
  await b.disconnect()
  await until('one member', () => a.assigned === 4)
  const c = await member('g', seen)
  await until('a new member', () => a.assigned === 2 && c.assigned === 2)
  await send(topic, records / 2, records, CompressionTypes.GZIP, -1, true)
  await seen.wait(records)
  const { groups } = await admin.describeGroups(['g'])
  want(groups[0].state === 'Stable' && groups[0].members.length === 2, JSON.stringify(groups))
  await a.disconnect()
  await c.disconnect()
  const committed = await admin.fetchOffsets({ groupId: 'g', topics: [topic] })
  const sum = committed[0].partitions.reduce((n, p) => n + Number(p.offset), 0)
  want(sum === records, `committed ${sum}`)
  await admin.deleteGroups(['g'])
  want(!(await admin.listGroups()).groups.some(g => g.groupId === 'g'), 'the group is there')
  return `${records} records`
})

await check('regular expression', async () => {
  for (const topic of ['re-1', 're-2', 'other-re']) {
    await admin.createTopics({ waitForLeaders: true, topics: [{ topic }] })
    await send(topic, 0, 10, CompressionTypes.None, -1, false)
  }
  const topics = { 're-1': new Seen('re-1'), 're-2': new Seen('re-2'), 'other-re': new Seen('other-re') }
  const c = await member('regex', { of: topic => topics[topic] }, [/^re-.*/])
  await topics['re-1'].wait(10)
  await topics['re-2'].wait(10)
  await c.disconnect()
  want(topics['other-re'].times.size === 0, 'other-re was consumed')
})

await check('seek, pause and resume', async () => {
  const topic = 'seek'
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] })
  const p = kafka.producer()
  await p.connect()
  for (let i = 0; i < 1000;) {
    const messages = []
    for (const end = i + 50; i < end; i++) messages.push({ ...message(topic, i), partition: 0, timestamp: String(1600000000000 + 1000 * i) })
    await p.send({ topic, messages })
  }
  await p.disconnect()
  for (const [time, offset] of [[1600000333000, '333'], [1600000333001, '334'], [1600000000000, '0']]) {
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, time)
    want(found[0].offset === offset, `time ${time}: ${JSON.stringify(found)}`)
  }
  const ends = await admin.fetchTopicOffsets(topic)
  want(ends[0].low === '0' && ends[0].high === '1000', JSON.stringify(ends))
  const c = kafka.consumer({ groupId: 'seek', maxWaitTimeInMs: 50 })
  await c.connect()
  await c.subscribe({ topics: [topic], fromBeginning: true })
  let offsets = []
  await c.run({ eachMessage: async ({ message: m }) => { offsets.push(Number(m.offset)) } })
  await until('all', () => offsets.length >= 1000)
  offsets = []
  c.pause([{ topic }])
  c.seek({ topic, partition: 0, offset: '517' })
  await pause(300)
  want(offsets.length === 0, 'a record while paused')
  c.resume([{ topic }])
  await until('from 517', () => offsets.length >= 1000 - 517)
  want(offsets[0] === 517, `${offsets[0]} after a seek to 517`)
  await c.disconnect()
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '100' }] })
  want((await admin.fetchTopicOffsets(topic))[0].low === '100', 'records deleted')
})

await check('commit and restart', async () => {
  const topic = 'commits'
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] })
  await send(topic, 0, 100, CompressionTypes.None, -1, false)
  const read = async (autoCommit, from, commit) => {
    const c = kafka.consumer({ groupId: 'commits', maxWaitTimeInMs: 50 })
    await c.connect()
    await c.subscribe({ topics: [topic], fromBeginning: true })
    const offsets = []
    await c.run({ autoCommit, autoCommitInterval: 50, eachMessage: async ({ message: m }) => { offsets.push(Number(m.offset)) } })
    await until('the rest', () => offsets.length >= 100 - from)
    want(offsets[0] === from, `from ${offsets[0]}, want ${from}`)
    if (commit) await c.commitOffsets([{ topic, partition: 0, offset: commit, metadata: 'note' }])
    await c.disconnect()
  }
  await read(false, 0, '10')
  await read(false, 10, '20')
  await read(true, 20)
  const [{ partitions }] = await admin.fetchOffsets({ groupId: 'commits', topics: [topic] })
  want(partitions[0].offset === '100', JSON.stringify(partitions))
})

await admin.disconnect()
process.exit(failed ? 1 : 0)

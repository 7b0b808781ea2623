// The same filters over the same events in Segment's own library, for `python -m bench.filters`.
//
// Arguments: a file with {"one": filter, "ten": [filter, …], "events": [event, …]}. Prints evaluations or events a second, and
// which events each filter matches.
const fs = require('fs')
const { parseFql, validate } = require('@segment/destination-subscriptions')

const { one, ten, events } = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const parsedOne = parseFql(one)
const parsedTen = ten.map(parseFql)
for (const ast of [parsedOne, ...parsedTen]) if (ast.error) throw ast.error

function best(work, perRound) {
  let rate = 0
  for (let round = 0; round < 7; round++) {
    const begun = process.hrtime.bigint()
    for (let again = 0; again < 100; again++) work()
    rate = Math.max(rate, (100 * perRound) / (Number(process.hrtime.bigint() - begun) / 1e9))
  }
  return rate
}

let matches = 0
const rateOfOne = best(() => { for (const event of events) if (validate(parsedOne, event)) matches++ }, events.length)
const rateOfTen = best(
  () => { for (const event of events) for (const ast of parsedTen) if (validate(ast, event)) matches++ },
  events.length
)
const verdicts = ten.map((_, index) => events.map((event) => (validate(parsedTen[index], event) ? 1 : 0)).join(''))
console.log(JSON.stringify({ one: rateOfOne, ten: rateOfTen, verdicts, matches }))

// Segment's published client, with only the host changed. Argument: our address; TOKEN in the environment.
// Prints what each call answered, as JSON.
const PublicAPI = require('@segment/public-api-sdk-typescript')

const apis = PublicAPI.configureApis(process.env.TOKEN)
for (const api of Object.values(apis)) api.basePath = `${process.argv[2]}/api`
const { workspaces, catalog, sources, destinations, destinationFilters } = apis
// Of all its parts these are not set up with the others.
const [deliveryOverview, audiences, computedTraits] = ['DeliveryOverviewApi', 'AudiencesApi', 'ComputedTraitsApi'].map((name) => {
  const api = new PublicAPI[name](`${process.argv[2]}/api`)
  api.accessToken = process.env.TOKEN
  return api
})
const SPACE = 'spa_any'
const told = {}

async function tell(name, promise) {
  try {
    told[name] = (await promise).body.data
  } catch (error) {
    told[name] = { status: error.statusCode, errors: error.body && error.body.errors, error: error.statusCode ? undefined : `${error}` }
  }
  return told[name]
}

// What the client has no call for.
async function post(path, body) {
  const answer = await fetch(`${process.argv[2]}/api/spaces/${SPACE}/${path}`, {
    method: 'POST', headers: { Authorization: `Bearer ${process.env.TOKEN}`, 'Content-Type': 'application/json' }, body: JSON.stringify(body)
  })
  const content = await answer.json()
  if (!answer.ok) throw { statusCode: answer.status, body: content }
  return { body: content }
}

// What the models of the client require and an answer lacks: as they read it, such a member is undefined.
function missing(one) {
  return one.constructor.getAttributeTypeMap().map((attribute) => attribute.name).filter((name) => typeof one[name] !== 'boolean' && !one[name])
}

async function tellOfComputations() {
  const orders = "event('Order Completed')"
  const tables = [
    ['audience', 'audiences', audiences, ['listAudiences', 'getAudience', 'updateAudienceForSpace', 'removeAudienceFromSpace'], `${orders}.count() >= 1`],
    ['computedTrait', 'computed-traits', computedTraits,
      ['listComputedTraits', 'getComputedTrait', 'updateComputedTraitForSpace', 'removeComputedTraitFromSpace'], `${orders}.count()`]
  ]
  for (const [kind, path, api, [list, get, update, remove], query] of tables) {
    const call = (name, method, ...rest) => tell(`${kind}.${name}`, api[method](SPACE, ...rest))
    for (const name of ['One', 'Two', 'Three']) {
      await tell(`${kind}.create${name}`, post(path, { name: `${kind} ${name}`, description: 'why', definition: { query, type: 'USERS' } }))
    }
    await tell(`${kind}.createBad`, post(path, { name: 'Bad', definition: { query: `${orders}.coun()`, type: 'USERS' } }))
    await tell(`${kind}.createAgain`, post(path, { name: `${kind} One`, definition: { query, type: 'USERS' } }))
    const id = told[`${kind}.createOne`][kind].id
    const { pagination } = await call('list', list, { count: 2 })
    const page = await call('listNext', list, { count: 2, cursor: pagination.next })
    const shown = page[Object.keys(page).find((name) => name !== 'pagination')]
    told[`${kind}.missing`] = shown.flatMap((one) => [missing(one), missing(one.definition)])
    await call('listBad', list, { count: 2, cursor: 'no cursor' })
    await call('get', get, id)
    await call('disable', update, id, { enabled: false })
    await call('enable', update, id, { enabled: true })
    await call('remove', remove, id)
    await call('getRemoved', get, id)
    await call('updateUnknown', update, 'none', { enabled: false })
    await call('removeUnknown', remove, 'none')
  }
}

async function main() {
  await tell('workspace', workspaces.getWorkspace())
  await tell('destinationCatalog', catalog.getDestinationsCatalog({ count: 10 }))
  const perkville = told.destinationCatalog.destinationsCatalog[0].id
  await tell('destinationMetadata', catalog.getDestinationMetadata(perkville))
  await tell('sourceCatalog', catalog.getSourcesCatalog({ count: 3 }))
  await tell('sourceCatalogNext', catalog.getSourcesCatalog({ count: 3, cursor: told.sourceCatalog.pagination.next }))

  await tell('createSource', sources.createSource({ slug: 'shop', enabled: true, metadataId: 'javascript' }))
  await tell('createSourceAgain', sources.createSource({ slug: 'shop', enabled: true, metadataId: 'javascript' }))
  await tell('createSourceBadSlug', sources.createSource({ slug: 'No Slug', enabled: true, metadataId: 'javascript' }))
  await tell('addKey', sources.createWriteKeyForSource('shop'))
  await tell('removeKey', sources.removeWriteKeyFromSource('shop', told.createSource.source.writeKeys[0]))
  await tell('updateSource', sources.updateSource('shop', { name: 'The shop' }))
  await tell('listSources', sources.listSources({ count: 100 }))

  const settings = {
    apiKey: 'sandbox-token', businessId: '41', locationId: '7', sendEmail: false, eventToPerkMap: { 'Checked In': '123457' }
  }
  await tell('createDestination', destinations.createDestination({ sourceId: 'shop', metadataId: perkville, name: 'Points', settings }))
  const id = told.createDestination.destination.id
  await tell('createDestinationBad', destinations.createDestination({ sourceId: 'shop', metadataId: perkville, settings: { ...settings, locationId: 'x y' } }))
  await tell('connected', sources.listConnectedDestinationsFromSource('shop', { count: 10 }))
  await tell('updateDestination', destinations.updateDestination(id, {
    settings: { ...told.createDestination.destination.settings, eventToPerkMap: { 'Checked In': '123457', 'Order Completed': '123456' } }
  }))
  await tell('listDestinations', destinations.listDestinations({ count: 100 }))
  await tell('deleteSourceInUse', sources.deleteSource('shop'))

  const filter = { sourceId: 'shop', title: 'no staff', enabled: true, if: "contains( properties.email, '@gym.example' )", actions: [{ type: 'DROP' }] }
  await tell('createFilter', destinationFilters.createFilterForDestination(id, filter))
  const filterId = told.createFilter.filter.id
  await tell('createFilterBad', destinationFilters.createFilterForDestination(id, { ...filter, if: 'event =' }))
  await tell('updateFilter', destinationFilters.updateFilterForDestination(id, filterId, { title: 'no staff at all', description: 'why' }))
  await tell('getFilter', destinationFilters.getFilterInDestination(id, filterId))
  await tell('listFilters', destinationFilters.listFiltersFromDestination(id, { count: 10 }))
  await tell('preview', destinationFilters.previewDestinationFilter({
    filter: { if: filter.if, actions: filter.actions }, payload: { type: 'track', properties: { email: 'a@gym.example' } }
  }))
  await tell('getFilterUnknown', destinationFilters.getFilterInDestination(id, 'flt_none'))

  const hour = 3600 * 1000
  const [begin, end] = [Date.now() - hour, Date.now() + hour].map((one) => new Date(one).toISOString())
  const page = { count: 10 }
  await tell('received', deliveryOverview.getIngressSuccessMetricsFromDeliveryOverview(
    'website', begin, end, 'hour', page, ['eventName', 'eventType']
  ))
  await tell('delivered', deliveryOverview.getEgressSuccessMetricsFromDeliveryOverview(
    'website', 'perkville', begin, end, 'minute', page, ['eventName'], { eventName: ['Checked In'] }
  ))
  await tell('failed', deliveryOverview.getEgressFailedMetricsFromDeliveryOverview(
    'website', 'perkville', begin, end, 'hour', page, ['discardReason']
  ))
  await tell('metrics', destinations.listDeliveryMetricsSummaryFromDestination('perkville', 'website'))
  await tellOfComputations()
  console.log(JSON.stringify(told))
}

main()

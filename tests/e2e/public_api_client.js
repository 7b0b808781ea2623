// Segment's published client, with only the host changed. Argument: our address; TOKEN in the environment.
// Prints what each call answered, as JSON.
const PublicAPI = require('@segment/public-api-sdk-typescript')

const apis = PublicAPI.configureApis(process.env.TOKEN)
for (const api of Object.values(apis)) api.basePath = `${process.argv[2]}/api`
const { workspaces, catalog, sources, destinations, destinationFilters } = apis
// Of all its parts only this one is not set up with the others.
const deliveryOverview = new PublicAPI.DeliveryOverviewApi(`${process.argv[2]}/api`)
deliveryOverview.accessToken = process.env.TOKEN
const told = {}

async function tell(name, promise) {
  try {
    told[name] = (await promise).body.data
  } catch (error) {
    told[name] = { status: error.statusCode, errors: error.body && error.body.errors, error: error.statusCode ? undefined : `${error}` }
  }
  return told[name]
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
  console.log(JSON.stringify(told))
}

main()

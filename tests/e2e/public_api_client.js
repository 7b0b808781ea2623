// Segment's published client, with only the host changed. Argument: our address; TOKEN in the environment.
// Prints what each call answered, as JSON.
const PublicAPI = require('@segment/public-api-sdk-typescript')

const apis = PublicAPI.configureApis(process.env.TOKEN)
for (const api of Object.values(apis)) api.basePath = `${process.argv[2]}/api`
const { workspaces, catalog, sources, destinations, destinationFilters, labels, testing, transformations } = apis
const regulations = apis.deletionAndSuppresion
// Of all its parts these are not set up with the others.
const [deliveryOverview, audiences, computedTraits, plans] = ['DeliveryOverviewApi', 'AudiencesApi', 'ComputedTraitsApi', 'TrackingPlansApi'].map((name) => {
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

async function tellOfLabels() {
  const label = { key: 'environment', value: 'production' }
  await tell('labels.create', labels.createLabel({ label: { ...label, description: 'live' } }))
  await tell('labels.replace', sources.replaceLabelsInSource('shop', { labels: [label, { key: 'team', value: 'a' }] }))
  await tell('labels.replaceAgain', sources.replaceLabelsInSource('shop', { labels: [label] }))
  await tell('labels.add', sources.addLabelsToSource('shop', { labels: [{ key: 'brand', value: 'acme' }] }))
  await tell('labels.replaceBad', sources.replaceLabelsInSource('shop', { labels: [{ key: '', value: 'x' }] }))
  await tell('labels.replaceUnknown', sources.replaceLabelsInSource('nobody', { labels: [label] }))
  await tell('labels.source', sources.getSource('shop'))
  await tell('labels.list', labels.listLabels())
  await tell('labels.deleteInUse', labels.deleteLabel('environment', 'production'))
  await tell('labels.clear', sources.replaceLabelsInSource('shop', { labels: [] }))
  await tell('labels.delete', labels.deleteLabel('environment', 'production'))
  await tell('labels.deleteUnknown', labels.deleteLabel('environment', 'production'))
}

async function tellOfWhatIsNotHere(id) {
  await tell('echo', testing.echo('hello'))
  await tell('echoError', testing.echo('hello', undefined, true))
  await tell('echoErrors', testing.echo('hello', undefined, false, true))
  await tell('echoUnexpected', testing.echo('hello', undefined, false, false, true))
  await tell('schemaSettings', sources.listSchemaSettingsInSource('shop'))
  const allowed = { track: { allowUnplannedEvents: true } }
  await tell('schemaSettingsSame', sources.updateSchemaSettingsInSource('shop', allowed))
  await tell('schemaSettingsBlock', sources.updateSchemaSettingsInSource('shop', { track: { allowUnplannedEvents: false } }))
  await tell('schemaSettingsAllow', sources.updateSchemaSettingsInSource('shop', allowed))
  await tell('warehouses', sources.listConnectedWarehousesFromSource('shop', { count: 10 }))
  await tell('warehousesUnknown', sources.listConnectedWarehousesFromSource('nobody', { count: 10 }))
  await tell('subscriptions', destinations.listSubscriptionsFromDestination(id, { count: 10 }))
  await tell('subscription', destinations.getSubscriptionFromDestination(id, 'none'))
  await tell('subscriptionCreate', destinations.createDestinationSubscription(id, {
    name: 'x', actionId: 'a', trigger: "type = 'track'", enabled: true, settings: {}
  }))
}

async function tellOfPlans() {
  const page = { count: 10 }
  await tell('plans.create', plans.createTrackingPlan({ name: 'Shop', type: 'LIVE', description: 'All we send' }))
  const { id } = told['plans.create'].trackingPlan
  const rule = { type: 'TRACK', key: 'Order Completed', version: 1, jsonSchema: { type: 'object' } }
  await tell('plans.replaceRules', plans.replaceRulesInTrackingPlan(id, { rules: [rule, { ...rule, key: 'Signed Up' }] }))
  await tell('plans.updateRules', plans.updateRulesInTrackingPlan(id, { rules: [{ ...rule, jsonSchema: { minProperties: 1 } }] }))
  await tell('plans.badRule', plans.updateRulesInTrackingPlan(id, { rules: [{ ...rule, jsonSchema: { type: 'objekt' } }] }))
  await tell('plans.removeRules', plans.removeRulesFromTrackingPlan(id, [{ type: 'TRACK', key: 'Signed Up', version: 1 }]))
  await tell('plans.rules', plans.listRulesFromTrackingPlan(id, page))
  await tell('plans.addSource', plans.addSourceToTrackingPlan(id, { sourceId: 'shop' }))
  await tell('plans.sources', plans.listSourcesFromTrackingPlan(id, page))
  await tell('plans.removeSource', plans.removeSourceFromTrackingPlan(id, 'shop'))
  await tell('plans.update', plans.updateTrackingPlan(id, { name: 'The shop' }))
  await tell('plans.get', plans.getTrackingPlan(id))
  await tell('plans.list', plans.listTrackingPlans('LIVE', page))
  await tell('plans.delete', plans.deleteTrackingPlan(id))
  await tell('plans.getDeleted', plans.getTrackingPlan(id))
}

async function tellOfTransformations() {
  const page = { count: 10 }
  const settings = {
    name: 'Rename the order', sourceId: 'shop', enabled: true, if: "event = 'Order Done'", newEventName: 'Order Completed',
    propertyRenames: [{ oldName: 'amount', newName: 'total' }],
    propertyValueTransformations: [{ propertyPaths: ['properties.currency'], propertyValue: 'EUR' }],
    fqlDefinedProperties: [{ fql: 'lowercase( properties.email )', propertyName: 'email' }]
  }
  await tell('transformations.create', transformations.createTransformation(settings))
  const { id } = told['transformations.create'].transformation
  told['transformations.missing'] = missing(told['transformations.create'].transformation)
  await tell('transformations.get', transformations.getTransformation(id))
  await tell('transformations.badCondition', transformations.createTransformation({ ...settings, if: 'event =' }))
  await tell('transformations.badSource', transformations.createTransformation({ ...settings, sourceId: 'nobody' }))
  const hashes = { propertyPaths: ['properties.email'], algorithm: 'SHA256' }
  await tell('transformations.hashes', transformations.createTransformation({ ...settings, hashPropertiesConfiguration: hashes }))
  await tell('transformations.update', transformations.updateTransformation(id, { enabled: false, newEventName: 'Order Paid' }))
  await tell('transformations.toDestination', transformations.createTransformation({
    name: 'Only the email', sourceId: 'shop', destinationMetadataId: 'perkville-2', enabled: false, if: "type = 'track'", allowProperties: ['email']
  }))
  await tell('transformations.list', transformations.listTransformations(page))
  await tell('transformations.delete', transformations.deleteTransformation(id))
  await tell('transformations.deleteOther', transformations.deleteTransformation(told['transformations.toDestination'].transformation.id))
  await tell('transformations.getDeleted', transformations.getTransformation(id))
}

async function tellOfRegulations() {
  const page = { count: 10 }
  const create = (name, regulationType, subjectIds, subjectType = 'USER_ID') =>
    tell(`regulations.${name}`, regulations.createWorkspaceRegulation({ regulationType, subjectType, subjectIds }))
  await create('suppress', 'SUPPRESS_ONLY', ['quiet', 'loud'])
  await tell('regulations.suppressed', regulations.listSuppressions(page))
  await create('unsuppress', 'UNSUPPRESS', ['loud'])
  await tell('regulations.unsuppressed', regulations.listSuppressions(page))
  await create('badType', 'FORGET', ['quiet'])
  await create('noSubjects', 'DELETE_ONLY', [])
  const ofSource = { regulationType: 'SUPPRESS_ONLY', subjectType: 'USER_ID', subjectIds: ['silent'] }
  await tell('regulations.source', regulations.createSourceRegulation('shop', ofSource))
  await tell('regulations.sourceUnknown', regulations.createSourceRegulation('nobody', ofSource))
  await tell('regulations.ofSource', regulations.listRegulationsFromSource('shop', page))
  await create('delete', 'DELETE_ONLY', ['gone'])
  const id = told['regulations.delete'].regulateId
  await tell('regulations.deletion', regulations.getRegulation(id))
  for (let looks = 0; looks < 300 && ((told['regulations.suppression'] || {}).regulation || {}).overallStatus !== 'FINISHED'; looks++) {
    await new Promise((resolve) => setTimeout(resolve, 200))
    await tell('regulations.suppression', regulations.getRegulation(told['regulations.suppress'].regulateId))
  }
  told['regulations.missing'] = missing(told['regulations.suppression'].regulation)
  await tell('regulations.list', regulations.listWorkspaceRegulations(page))
  await tell('regulations.listFailed', regulations.listWorkspaceRegulations(page, 'FAILED'))
  await tell('regulations.listTypes', regulations.listWorkspaceRegulations(page, undefined, ['DELETE_ONLY', 'UNSUPPRESS']))
  await tell('regulations.removeFinished', regulations.deleteRegulation(told['regulations.suppress'].regulateId))
  await tell('regulations.getUnknown', regulations.getRegulation('999999'))
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
  await tell('describedFilter', destinationFilters.createFilterForDestination(id, { ...filter, title: 'described', description: 'why' }))
  await tell('undescribedFilter', destinationFilters.updateFilterForDestination(id, told.describedFilter.filter.id, { description: null }))
  await tell('removeFilter', destinationFilters.removeFilterFromDestination(id, told.describedFilter.filter.id))
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
  await tellOfLabels()
  await tellOfWhatIsNotHere(id)
  await tellOfPlans()
  await tellOfTransformations()
  await tellOfRegulations()
  await tellOfComputations()
  console.log(JSON.stringify(told))
}

main()

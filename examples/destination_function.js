// A Segment Destination Function that hands each event to Punchcard's partner endpoint.
//
// In Segment: Connections > Catalog > Functions > New Function > Destination; paste this file. Settings to define there:
//   endpoint       string     the address of Punchcard, such as https://punchcard.example.com
//   apiKey         string     Perkville's token; mark it as sensitive
//   businessId     string
//   locationId     string
//   sendEmail      boolean
//   eventToPerkMap text map   event names and the perk each of them awards
//
// Segment shows what Punchcard refuses permanently, with its reason, and retries for four hours what Punchcard cannot
// accept at the moment. An event that Segment sends twice is awarded once.

async function deliver(event, settings) {
  const { businessId, locationId, sendEmail, eventToPerkMap } = settings
  let response
  try {
    response = await fetch(`${settings.endpoint.replace(/\/+$/, '')}/partner/perkville`, {
      method: 'POST',
      headers: {
        'Content-Type': 'application/json',
        Authorization: `Basic ${btoa(`${settings.apiKey}:`)}`,
        'X-Segment-Settings': base64(JSON.stringify({ businessId, locationId, sendEmail, eventToPerkMap }))
      },
      body: JSON.stringify(event)
    })
  } catch (error) {
    // Any other error would count as a bad event, and the event would be lost.
    throw new RetryError(`Punchcard cannot be reached: ${error.message}`)
  }
  if (response.ok) return
  const { message = `Punchcard answered ${response.status}` } = await response.json().catch(() => ({}))
  if (response.status === 501) throw new EventNotSupported(message)
  if (response.status >= 500 || response.status === 429 || response.status === 408) throw new RetryError(message)
  throw new ValidationError(message)
}

function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)))
}

async function onTrack(event, settings) {
  await deliver(event, settings)
}

async function onIdentify(event, settings) {
  await deliver(event, settings)
}

async function onDelete(event, settings) {
  await deliver(event, settings)
}

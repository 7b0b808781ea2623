#!/bin/sh
# The example of the Perkville destination's page, sent by curl to a running `punchcard up` (or `punchcard demo`).
# Usage: sh examples/send_with_curl.sh [URL] [WRITE_KEY]
set -eu
url=${1:-http://127.0.0.1:8080}
write_key=${2:-wk_website}

# -u KEY: is HTTP Basic with the write key as the name and no password. Strict mode reports invalid events in the response.
curl --silent --show-error --fail-with-body "$url/v1/track" -u "$write_key:" \
  -H 'Content-Type: application/json' -H 'X-Punchcard-Strict: 1' -d '{
    "userId": "ann",
    "messageId": "example-by-curl",
    "event": "Order Completed",
    "properties": {"order_id": "o283h08fh2390f923uofu23", "revenue": 9.99, "email": "example@example.com"}
  }'
echo
echo "sent; show its trace with: punchcard trace example-by-curl"

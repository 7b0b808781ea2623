"""The example of the Perkville destination's page, sent by Segment's own Python library (segment-analytics-python).

Usage: python examples/send_with_python.py [URL] [WRITE_KEY]
"""

import sys

from segment.analytics.client import Client


def main(url: str = "http://127.0.0.1:8080", write_key: str = "wk_website") -> None:
    problems: list[Exception] = []
    analytics = Client(write_key, host=url, max_retries=2, on_error=lambda error, _batch: problems.append(error))
    properties = {"order_id": "o283h08fh2390f923uofu23", "revenue": 9.99, "email": "example@example.com"}
    analytics.track("ann", "Order Completed", properties, message_id="example-by-python")
    analytics.flush()
    analytics.join()
    if problems:
        sys.exit(f"not sent: {problems[0]}")
    print("sent; show its trace with: punchcard trace example-by-python")


if __name__ == "__main__":
    main(*sys.argv[1:])

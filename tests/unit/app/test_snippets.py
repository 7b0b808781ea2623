"""Lines to copy: each names the source's own key and host."""

import pytest

from punchcard.app.snippets import snippets_for
from punchcard.workspace.model import Source


@pytest.mark.parametrize("host", ["http://127.0.0.1:8080", "https://points.example.com", "https://example.com/points"])
def test_the_snippet_of_a_website_is_segments_with_this_host(host: str) -> None:
    source = Source(slug="website", name="Website", type="javascript", write_keys=("wk_website",))
    website = snippets_for(source, host=host)[0]
    assert website.key == "website"
    assert f't.src="{host}/analytics.js/v1/" + key + "/analytics.min.js"' in website.text
    assert 'analytics.load("wk_website")' in website.text
    assert website.text.startswith("<script>")
    assert website.text.endswith("</script>")
    assert "segment.com" not in website.text
    assert "invalid" not in website.text


def test_a_key_cannot_leave_its_quotes() -> None:
    source = Source(slug="website", name="Website", type="javascript", write_keys=('a"+alert(1)+"</script>',))
    text = snippets_for(source, host="https://x")[0].text
    assert 'analytics.load("a\\"+alert(1)+\\"<\\/script>")' in text
    assert text.count("</script>") == 1

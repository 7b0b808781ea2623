"""Labels of the workspace and of sources.

Source: Segment's Public API, "Labels" and "Sources".
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
from litestar import delete, get, post, put
from litestar.params import FromPath, JSONBody

from punchcard.api.api_dependencies import Dependencies
from punchcard.api.errors import unprocessable
from punchcard.operations.executor import run_in_executor
from punchcard.workspace.editing import NotFoundError, change_source, find_source
from punchcard.workspace.model import Label, Source, Workspace
from punchcard.workspace.problems import raise_problems
from punchcard.workspace.validate import label_problems


class LabelView(msgspec.Struct, omit_defaults=True):
    """A label. `description` is absent if there is none."""

    key: str
    value: str
    description: str = ""


class NewLabel(msgspec.Struct):
    """A label to create."""

    label: LabelView


class LabelList(msgspec.Struct):
    """A list of labels."""

    labels: list[LabelView]


@get("/labels", summary="List labels")
@run_in_executor
def list_labels(dependencies: Dependencies) -> dict[str, LabelList]:
    """List the labels of the workspace, including those of sources."""
    return {"data": LabelList(labels=[label_view(label) for label in _known(dependencies.workspace())])}


@post("/labels", status_code=200, summary="Create a label")
@run_in_executor
def create_label(data: JSONBody[NewLabel], dependencies: Dependencies) -> dict[str, dict[str, LabelView]]:
    """Create a label, or replace the description of an existing one."""
    label = _label(data.label)
    raise_problems([*label_problems(("workspace", "label"), label)])
    dependencies.edit(
        lambda workspace: replace(
            workspace, labels=(*(existing for existing in workspace.labels if _name(existing) != _name(label)), label)
        )
    )
    return {"data": {"label": label_view(label)}}


@delete("/labels/{key:str}/{value:str}", status_code=200, summary="Delete a label")
@run_in_executor
def delete_label(key: FromPath[str], value: FromPath[str], dependencies: Dependencies) -> dict[str, dict[str, str]]:
    """Delete a label that no source has."""

    def remove_label(workspace: Workspace) -> Workspace:
        users = [source.slug for source in workspace.sources if (key, value) in map(_name, source.labels)]
        if users:
            raise unprocessable(f"{', '.join(users)} has this label. Remove it there first.", "key")
        if (key, value) not in map(_name, workspace.labels):
            raise NotFoundError(f"There is no label {key}:{value}.")
        return replace(workspace, labels=tuple(label for label in workspace.labels if _name(label) != (key, value)))

    dependencies.edit(remove_label)
    return {"data": {"status": "SUCCESS"}}


@post("/sources/{source_id:str}/labels", status_code=200, summary="Add labels to a source")
@run_in_executor
def add_source_labels(
    source_id: FromPath[str], data: JSONBody[LabelList], dependencies: Dependencies
) -> dict[str, LabelList]:
    """Add labels to those that the source has."""
    return _set(source_id, dependencies, lambda source: _merged([*source.labels, *map(_label, data.labels)]))


@put("/sources/{source_id:str}/labels", status_code=200, summary="Replace the labels of a source")
@run_in_executor
def replace_source_labels(
    source_id: FromPath[str], data: JSONBody[LabelList], dependencies: Dependencies
) -> dict[str, LabelList]:
    """Replace the labels that the source has."""
    return _set(source_id, dependencies, lambda _: _merged([*map(_label, data.labels)]))


def label_view(label: Label) -> LabelView:
    """Return the body of a label."""
    return LabelView(key=label.key, value=label.value, description=label.description)


def _set(
    source_id: str, dependencies: Dependencies, change: Callable[[Source], tuple[Label, ...]]
) -> dict[str, LabelList]:
    dependencies.edit(change_source(source_id, lambda source: replace(source, labels=change(source))))
    source = find_source(dependencies.workspace(), source_id)
    return {"data": LabelList(labels=[label_view(label) for label in source.labels])}


def _label(view: LabelView) -> Label:
    return Label(key=view.key, value=view.value, description=view.description)


def _name(label: Label) -> tuple[str, str]:
    return label.key, label.value


def _merged(labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return each label once, with its last description, in order."""
    return tuple({_name(label): label for label in labels}.values())


def _known(workspace: Workspace) -> list[Label]:
    labels = {_name(label): label for source in workspace.sources for label in source.labels}
    labels |= {_name(label): label for label in workspace.labels}
    return [labels[name] for name in sorted(labels)]

"""Why a customer is, or is not, in an audience, computed when somebody asks for it."""

from litestar import get
from litestar.params import FromPath

from punchcard.app.request_context import ContextDependency, Page
from punchcard.errors import ConfigurationError, StorageError
from punchcard.operations.computation_status import find_computation_status
from punchcard.operations.executor import run_in_executor
from punchcard.operations.membership import explain_membership


@get("/audiences/{key:str}/membership")
@run_in_executor
def show_membership(context: ContextDependency, key: FromPath[str]) -> Page:
    """Explain why a customer is, or is not, in an audience."""
    dependencies, customer = context.dependencies, context.query("customer").strip()
    membership, problem = None, "Enter an email, a user id or another id of a customer."
    try:
        status = find_computation_status(dependencies.store, dependencies.workspace(), key)
        if customer:
            membership = explain_membership(dependencies.store, status, customer, clock=dependencies.clock)
    except (ConfigurationError, StorageError) as error:
        problem = error.message
    return context.fragment("audience_membership.html", membership=membership, problem=problem, customer=customer)


HANDLERS = (show_membership,)

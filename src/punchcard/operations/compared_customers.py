"""Which customers of a partner are which customers of the ledger, as far as a comparison must know."""

from collections.abc import Collection, Sequence

from sqlalchemy import Connection

from punchcard.store.operations.partner_transactions import PartnerCustomer, customers_by_ref
from punchcard.store.operations.reconciliations import Reconciliation
from punchcard.workspace.subject_vault import is_deleted


class ComparedCustomers:
    """Maps customers of the partner to addresses, and collects those that must still be read.

    The partner names a customer by an id. As long as every id goes with one address of the ledger and every address
    with one id, nothing contradicts; where something does, the addresses are read from the partner.
    """

    def __init__(self, work: Connection, reconciliation: Reconciliation) -> None:
        self._work = work
        self._destination = reconciliation.destination
        self._account = reconciliation.account
        self._begun_at = reconciliation.until
        self._known: dict[str, PartnerCustomer] = {}
        self._loaded: set[str] = set()
        self._needed: dict[str, None] = {}
        self._never_read: dict[str, str] = {}  # by id the ledger's address
        self._ref_of: dict[str, str] = {}  # and the other way round

    def load(self, refs: Collection[str]) -> None:
        """Read what is remembered of these customers."""
        new = sorted(ref for ref in refs if ref and ref not in self._loaded)
        self._loaded.update(new)
        self._known |= customers_by_ref(self._work, self._destination, new, account=self._account)

    def known(self, ref: str) -> Sequence[str]:
        """The remembered addresses of a customer; none if they were never read."""
        self.load({ref})
        customer = self._known.get(ref)
        return () if customer is None else customer.emails

    def must_know(self, ref: str) -> Sequence[str]:
        """The addresses of a customer, which must be read if they never were."""
        emails = self.known(ref)
        if ref and ref not in self._known:
            self._needed[ref] = None
        return emails

    def emails_of(self, customer: str, ref: str) -> Sequence[str]:
        """The addresses of a customer, to be compared with the ledger's; none if they are unknown yet.

        Of a person who was deleted here, none: there is nothing to compare them with, and they must not be read again.
        """
        if not ref or is_deleted(customer):
            return ()
        known = self._known.get(ref)
        if known is None:
            self._note_unread(customer, ref)
            return ()
        if customer not in known.emails and self._begun_at is not None and known.read_at < self._begun_at:
            # They may have changed since: a customer can have a new address.
            self._needed[ref] = None
        return known.emails

    def needed(self) -> list[str]:
        """The customers that must be read."""
        return list(self._needed)

    def unread(self) -> list[str]:
        """The customers that were never read, and need not be."""
        return [ref for ref in self._never_read if ref not in self._needed]

    def _note_unread(self, customer: str, ref: str) -> None:
        other_customer = self._never_read.setdefault(ref, customer)
        other_ref = self._ref_of.setdefault(customer, ref)
        if other_customer != customer or other_ref != ref:
            self._needed |= dict.fromkeys((ref, other_ref))

"""Words by which columns, tables and statuses are recognised, in the languages of shops."""

from __future__ import annotations

import re
from collections.abc import Sequence

from db.attach.facts import spellings, split_words, word_set

__all__ = [
    "CODES",
    "NAME_PATTERNS",
    "SYSTEMS",
    "is_cancelled",
    "is_cart",
    "is_known_status",
    "is_pending",
    "lifecycle_rank",
    "table_name_score",
]

# For each field of a map: patterns of column names, as words joined by underscores, with a score. The first match counts.
_PATTERNS: dict[str, Sequence[tuple[int, str]]] = {
    "total": (
        (
            100,
            r"(order_)?(grand_total|total_amount|amount_total|total_price|price_total|total_gross(_amount)?|gross_total"
            r"|total_incl(uding)?_(tax|vat)|total_with_tax|final_(price|total|amount)|total_sum|total_value)"
            r"(_(in_)?(cents|minor|minor_units))?",
        ),
        (98, r"order_total(_(in_)?(cents|minor|minor_units))?"),
        (95, r"total(_(in_)?(cents|minor|minor_units|pence|kopecks))?|totals?_brutto"),
        (
            85,
            r"(suma|razem|kwota|wartosc|brutto|kwota_brutto|brutto_betrag|bruttobetrag|endbetrag|rechnungsbetrag|betrag|gesamtbetrag|gesamtpreis|gesamtsumme|gesamt|summe|importe|importe_total|valor"
            r"|valor_total|montant|montant_total|montant_ttc|total_ttc|prix_total|totale|importo|importo_totale|totaal"
            r"|totaalbedrag|bedrag|belopp|summa|celkem|cena_celkem|tutar|toplam|vegosszeg|сумма|итого|стоимость)"
            r"(_brutto|_zamowienia|_pedido|_commande)?(_(in_)?(cents?|centow|grosze|groszy|gr|centimos|centavos|centimes|ore))?",
        ),
        (60, r"(order_)?(amount|sum|value|price|koszt|cena)(_(in_)?(cents|minor|minor_units|grosze|groszy|gr))?"),
    ),
    "status": (
        (100, r"(order_)?(status|state)"),
        (90, r"(order_)?(status|state)_(id|code|name|key)"),
        (
            85,
            r"(stan|estado|estatus|statut|stato|zustand|etat|situacao|stav|tila|durum|allapot|статус|состояние|bestellstatus)"
            r"(_zamowienia|_pedido|_commande|_ordine)?|status_(zamowienia|pedido|commande)",
        ),
        (60, r"(fulfil?lment|delivery|shipping|shipment)_(status|state)"),
        (50, r"payment_(status|state)"),
        (40, r"\w*(status|state)|current_(step|stage)|stage"),
    ),
    "number": (
        (105, r"custom_order_number|order_(number|no|nr|num|code|ref|reference)"),
        (100, r"number|no|nr|num|increment_id|purchase_number"),
        (90, r"display_id|reference|ref|friendly_id|human_id|public_id"),
        (
            85,
            r"bestell_?nummer|auftrags_?nummer|bestell_?nr|auftrags_?nr|nummer|(numer|numero|número|nro|num|номер|cislo)"
            r"(_zamowienia|_pedido|_commande|_ordine|_заказа)?|bestelnummer|ordrenummer|ordernummer|siparis_no",
        ),
        (80, r"code|codigo"),
        (60, r"name"),
        (40, r"invoice_(number|no)|document_(number|no)"),
    ),
    "customer_id": (
        (
            100,
            r"(customer|shopper|kunden?|klient|klienta|cliente|clients?|klant|kund|zakaznik|musteri|покупатель|клиент)_(id|uuid|no|nr|ref|key|fk)",
        ),
        (97, r"(buyer|partner|acheteur|kupujacy|comprador|consumer)_(id|uuid|ref)"),
        (90, r"(user|usuario|utilisateur|benutzer|uzytkownik)_(id|uuid|ref)"),
        (85, r"customer|klient|kunde|cliente|client|buyer|user|kunden?nummer"),
        (70, r"(account|member|profile|contact|person|owner|company|party)_(id|uuid|ref)"),
    ),
    "customer_name": (
        (
            100,
            r"(customer|client|buyer|recipient|receiver|contact|shopper|guest|klant|kunden?|klient|cliente|consumer|user)_?"
            r"(full_)?name|name_of_customer|kundenname",
        ),
        (
            90,
            r"full_name|imie_i?_?nazwisko|nazwa_klienta|nombre_(del_)?cliente|nom_(du_)?client|nome_(do_)?cliente|nome_completo"
            r"|nombre_completo|имя_клиента|имя_покупателя|фио",
        ),
        (85, r"customer|client|buyer|kunde|klient|cliente|klant|kund|zakaznik|musteri|клиент|покупатель|besteller|odbiorca"),
        (75, r"(bill(ing)?|ship(ping)?|delivery|invoice)_(to_)?(full_)?name|recipient"),
        (70, r"name|nombre|nom|nome|имя"),
    ),
    "currency": (
        (100, r"(order_)?currency(_(code|iso|iso_code|key))?|iso_currency(_code)?|(total|price)_currency"),
        (95, r"(customer|presentment|shop|display)_currency(_code)?"),
        (85, r"waehrung|währung|waluta|moneda|moeda|devise|valuta|mena|para_birimi|penznem|валюта"),
    ),
    "created_at": (
        (
            100,
            r"(order_)?placed_(at|on)|date_placed|ordered_(at|on)|order_date|order_time|date_order(ed)?|purchased_at|bestelldatum"
            r"|bestellt_am|data_zamowienia|zlozono|zlozone|fecha_(de_)?pedido|date_(de_)?commande|commande_le|data_(do_)?pedido"
            r"|data_ordine|дата_заказа|purchase_date",
        ),
        (
            90,
            r"created_(at|on|utc|on_utc|at_utc|date|time)|created|date_created|creation_date|create_date|create_time|inserted_at"
            r"|date_add|added_at|erstellt_?(am)?|angelegt_?(am)?|erfasst_?(am)?|utworzono|utworzony|utworzone|data_utworzenia"
            r"|creado_?(en|el)?|criado_?em|cree_le|créée?_le|creato_il|fecha_(de_)?creacion|aangemaakt_op|vytvoreno|создан|создано",
        ),
        (70, r"fecha|datum|data|date|timestamp|дата"),
    ),
}
NAME_PATTERNS = {name: [(score, re.compile(pattern)) for score, pattern in patterns] for name, patterns in _PATTERNS.items()}

_CART = word_set(
    "cart draft basket quotation quote adding_items arranging_payment checkout incomplete in_checkout abandoned "
    "entwurf warenkorb koszyk szkic borrador carrito rascunho carrinho brouillon panier bozza carrello черновик "
    "корзина not_finalized"
)
# Where one of these marks a checkout, so do the others: Spree, Odoo.
_CART_COMPANIONS = {"cart": {"address", "delivery", "payment", "confirm"}, "draft": {"sent"}}
_PENDING = word_set(
    "pending new open unfulfilled not_fulfilled unconfirmed placed received awaiting waiting submitted created unpaid "
    "to_pay awaiting_payment awaiting_fulfillment payment_pending pending_payment payment_authorized payment_settled "
    "paid_pending requires_action on_hold sale queued to_process unprocessed offen neu eingegangen wartend ausstehend "
    "nowe nowy oczekuje oczekujace przyjete zlozone nuevo nueva pendiente recibido novo nova pendente recebido aberto "
    "nouveau nouvelle en_attente recue nuovo nuova in_attesa ricevuto nieuw openstaand ny ventar novy nova cekajici "
    "yeni bekliyor новый ожидает принят"
)
_CANCELLED = word_set(
    "cancelled canceled cancel canceled_by_user void voided rejected declined denied failed expired refunded returned "
    "revoked chargeback fraud deleted storniert abgebrochen abgelehnt erstattet retourniert anulowane anulowany "
    "odrzucone zwrot zwrocone cancelado cancelada anulado anulada rechazado devuelto rejeitado devolvido reembolsado "
    "annule annulee annulé annulée refuse rembourse annullato annullata rifiutato rimborsato geannuleerd annullerad "
    "avbruten peruttu zruseno zrusena iptal отменен отменён отменено отклонен возврат"
)
_LIFECYCLE = (
    _PENDING,
    word_set(
        "confirmed accepted approved authorized bestaetigt bestätigt potwierdzone confirmado confirme confirmé confermato "
        "подтвержден"
    ),
    word_set("paid captured payment_received bezahlt oplacone zaplacone pagado pago paye payé pagato betaald оплачен"),
    word_set(
        "processing in_progress preparing in_process in_production being_processed in_bearbeitung w_realizacji w_trakcie "
        "en_proceso em_andamento en_cours in_lavorazione обрабатывается"
    ),
    word_set("ready packed picked ready_for_pickup ready_to_ship verpackt spakowane listo preparado emballe готов собран"),
    word_set(
        "partially_fulfilled partially_shipped partially_delivered shipped sent dispatched delivering in_transit "
        "out_for_delivery versandt versendet wyslane wyslano enviado expedie expédiée spedito verzonden skickad odeslano "
        "отправлен"
    ),
    word_set(
        "fulfilled delivered completed complete done closed finished archived geliefert abgeschlossen zugestellt erledigt "
        "dostarczone zrealizowane zakonczone entregado completado entregue concluido livre livré livrée termine "
        "consegnato completato afgeleverd levererad doruceno доставлен завершен выполнен"
    ),
    word_set("partially_returned partially_refunded returned refunded"),
    _CANCELLED,
)

_ORDER_NAMES = word_set(
    "order orders bestellung bestellungen auftrag auftraege aufträge zamowienie zamowienia zamówienia pedido pedidos "
    "commande commandes ordine ordini orden ordenes órdenes encomenda encomendas objednavka objednavky bestelling "
    "bestellingen bestallning bestallningar ordre ordrer tilaus tilaukset siparis siparisler rendeles rendelesek "
    "comanda comenzi заказ заказы purchase purchases narudzba narudzbe"
)
_PARTS_OF_ORDERS = word_set(
    "item items line lines event events history log logs address addresses note notes status statuses payment "
    "payments tax taxes discount discounts product products summary summaries detail details tag tags shipping change "
    "changes claim claims exchange return returns transaction transactions credit promotion promotions adjustment "
    "adjustments fulfillment fulfillments position positions pozycje positionen artikel lineas linhas lignes righe "
    "archive backup old draft template method type reason option action actions modification"
)

# Shop systems by their columns, with the map in examples/maps/ that is made for each.
SYSTEMS: dict[str, frozenset[str]] = {
    "saleor": frozenset({"total_gross_amount", "undiscounted_total_gross_amount", "currency", "number"}),
    "medusa1": frozenset({"display_id", "fulfillment_status", "payment_status", "currency_code"}),
    "medusa2": frozenset({"display_id", "is_draft_order", "currency_code", "version"}),
    "spree": frozenset({"shipment_state", "payment_state", "item_total", "completed_at", "number"}),
    "odoo": frozenset({"amount_total", "amount_untaxed", "partner_id", "date_order"}),
    "vendure": frozenset({"orderPlacedAt", "subTotalWithTax", "shippingWithTax", "currencyCode"}),
    "sylius": frozenset({"checkout_state", "payment_state", "shipping_state", "items_total", "currency_code"}),
    "oscar": frozenset({"total_incl_tax", "total_excl_tax", "date_placed", "number"}),
    "nopcommerce": frozenset({"OrderStatusId", "CustomOrderNumber", "OrderTotal"}),
}
# What the numbers in a status column of theirs mean.
CODES = {"nopcommerce": {"10": "Pending", "20": "Processing", "30": "Complete", "40": "Cancelled"}}


def is_cart(status: str, others: Sequence[str] = ()) -> bool:
    """Whether rows of this status are no orders yet. ``others`` are the statuses that occur in the same table."""
    word = _joined(status)
    present = {_joined(other) for other in others}
    if _CART.intersection(spellings(word)):
        return True
    if word == "sent":  # a quotation, where drafts become sales
        return {"draft", "sale"} <= present
    return word in _CART_COMPANIONS["cart"] and "cart" in present


def is_pending(status: str) -> bool:
    """Whether an order of this status waits for the shop."""
    word = _joined(status)
    return bool(_PENDING.intersection(spellings(word))) or (
        bool({"pending", "awaiting"} & set(word.split("_"))) and not is_cancelled(status)
    )


def is_cancelled(status: str) -> bool:
    """Whether an order of this status is no revenue."""
    words = split_words(status)
    return bool(_CANCELLED.intersection(spellings("_".join(words)))) or (
        bool({"cancelled", "canceled"} & set(words)) and not {"partially", "partial", "not"} & set(words)
    )


def is_known_status(status: str) -> bool:
    """Whether the text is a word for a status of orders at all."""
    return lifecycle_rank(status) < len(_LIFECYCLE) or is_cart(status)


def lifecycle_rank(status: str) -> int:
    """Where in an order's life the status comes; statuses that are not known come after the others."""
    if is_cancelled(status):
        return len(_LIFECYCLE) - 1
    word = _joined(status)
    for rank, words in enumerate(_LIFECYCLE):
        if words.intersection(spellings(word)):
            return rank
    return 0 if is_pending(status) else len(_LIFECYCLE)


def table_name_score(relation: str) -> int:
    """How much the name of a table says that it has the orders: 0 to 50, less for parts of orders."""
    words = [set(spellings(word)) for word in split_words(relation)]
    if not words:
        return 0
    if len(words) == 1 and words[0] & _ORDER_NAMES:
        return 50
    if set().union(*words) & _PARTS_OF_ORDERS:
        return -30
    if words[-1] & _ORDER_NAMES:
        return 45
    return 20 if set().union(*words) & _ORDER_NAMES else 0


def _joined(status: str) -> str:
    return "_".join(split_words(status))

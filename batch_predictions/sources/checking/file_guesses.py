"""Guesses which raw table a file belongs to, from its name and its columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NAME_HINTS: dict[str, tuple[str, ...]] = {
    "interactions": (
        *("order", "sale", "transaction", "event", "click", "purchase", "basket", "bon"),
        *("bestell", "commande", "vente", "pedido", "venta", "ordini", "vendit", "encomenda"),
    ),
    "users": ("customer", "user", "member", "kunde", "client", "klant"),
    "user_aliases": (
        *("alias", "merge", "duplicate", "dublette", "zusammen", "fusion", "doublon", "duplicad"),
    ),
    "items": ("product", "item", "article", "artikel", "catalog", "sku", "produit", "prodott"),
    "reviews": ("review", "feedback", "bewertung", "comment", "avis", "recensi", "resen"),
    "inventory": ("stock", "inventory", "bestand", "voorraad", "magazzino", "inventario"),
}
"""Parts of file names."""
_USER = (
    "user_id customer_id user customer customer_email email e_mail client_id visitor_id member_id "
    "uid kundennummer kunden_nr kundennr kunden_id kunde numero_client id_client client cliente_id "
    "id_cliente cliente codice_cliente numero_cliente klantnummer klant_id klant"
)
_ITEM = (
    "item_id product_id lineitem_sku variant_sku sku product item article_id article artikelnummer "
    "artikel_nr artikelnr artikel asin ean reference ref_produit id_produit produit referencia "
    "id_producto producto codice_articolo codice_prodotto articolo prodotto id_produto produto "
    "productnummer"
)
_DATE = "date datum fecha data"
_PRICE = "price preis prix precio prezzo preco prijs"
COLUMN_HINTS: dict[str, dict[str, str]] = {
    "interactions": {
        "user_id": _USER,
        "item_id": _ITEM,
        "event_type": "event_type event_name event action",
        "quantity": "quantity lineitem_quantity qty units menge anzahl stuckzahl stueckzahl "
        "quantite cantidad quantita quantidade aantal",
        "amount": "amount line_total lineitem_total line_amount revenue umsatz gesamtpreis "
        "montant total_ligne importe importo valor_total bedrag",
        "unit_price": f"lineitem_price unit_price {_PRICE} einzelpreis stuckpreis stueckpreis "
        "prix_unitaire precio_unitario prezzo_unitario preco_unitario stuksprijs",
        "status": "financial_status order_status payment_status status bestellstatus "
        "zahlungsstatus statut estado stato situacao",
        "line_discount": "lineitem_discount line_discount item_discount positionsrabatt",
        "discount": "discount_amount order_discount total_discount discount rabatt remise "
        "descuento sconto desconto korting",
        "refund": "refunded_amount refund_amount total_refunded refunded erstattet "
        "erstattungsbetrag rembourse reembolsado rimborsato",
        "currency": "currency currency_code wahrung waehrung devise moneda valuta moeda",
        "exchange_rate": "exchange_rate fx_rate conversion_rate wechselkurs umrechnungskurs "
        "taux_de_change tipo_de_cambio tasso_di_cambio taxa_de_cambio wisselkoers",
        "occurred_at": f"occurred_at created_at ts timestamp event_time paid_at order_date "
        f"ordered_at datetime time {_DATE} bestelldatum bestellt_am date_commande fecha_pedido "
        "data_ordine data_pedido besteldatum",
    },
    "users": {
        "user_id": f"user_id customer_id id email {_USER}",
        "birthday": "birthday birth_date birthdate date_of_birth dob geburtsdatum geburtstag "
        "date_de_naissance date_naissance fecha_nacimiento fecha_de_nacimiento data_di_nascita "
        "data_nascita data_de_nascimento geboortedatum",
        "age_bracket": "age_bracket age age_group alter edad eta idade leeftijd",
        "gender": "gender sex anrede salutation geschlecht civilite sexe genero sexo genere "
        "sesso geslacht",
        "location": "city region location ort stadt ville ciudad citta cidade plaats woonplaats "
        "state province country",
        "signed_up_on": "signed_up_on signup_date registered_on created_at kunde_seit "
        "date_inscription fecha_alta data_registrazione",
    },
    "user_aliases": {
        "alias": "alias old_id old_user_id old_customer_id merged_from from_id previous_id "
        "duplicate_id alte_kunden_nr alte_kundennr alte_kundennummer alte_kunden_id alte_id "
        "ancien_id ancien_client id_antiguo cliente_antiguo vecchio_id vecchio_cliente oud_id "
        "oude_klant_id oud_klantnummer",
        "user_id": "new_id new_user_id new_customer_id merged_into merged_to into_id current_id "
        "neue_kunden_nr neue_kundennr neue_kundennummer neue_kunden_id neue_id nouvel_id "
        "nouveau_id nouveau_client id_nuevo cliente_nuevo nuovo_id nuovo_cliente nieuw_id "
        f"nieuwe_klant_id nieuw_klantnummer {_USER}",
    },
    "items": {
        "item_id": f"item_id product_id variant_sku sku id handle {_ITEM}",
        "title": "title name product_name bezeichnung titel artikelbezeichnung libelle "
        "designation nom nombre descripcion nome descrizione descricao naam omschrijving",
        "category": "category product_type type kategorie department warengruppe categorie "
        "categoria",
        "brand": "brand vendor manufacturer marke hersteller marque marca merk",
        "price": f"price variant_price list_price {_PRICE}",
        "available": "available status active published in_stock",
    },
    "reviews": {
        "item_id": "item_id product_id product app app_id sku item asin",
        "user_id": "user_id author user reviewer reviewer_id customer",
        "rating": "rating stars score sterne overall note puntuacion valutazione",
        "text": "text body review review_text content comment kommentar avis texte comentario "
        "recensione",
        "headline": "headline title subject summary",
        "written_at": f"written_at {_DATE} at created_at submitted_at updated timestamp time",
        "language": "language lang locale sprache",
        "review_id": "review_id id",
    },
    "inventory": {
        "item_id": f"item_id product_id sku {_ITEM}",
        "on_hand": "on_hand stock quantity available bestand lagerbestand existencias giacenza "
        "voorraad",
        "date": f"date day counted_on {_DATE}",
        "location": "location warehouse store shop lager filiale magasin almacen magazzino",
    },
}
"""By raw table and column, names of columns in lower case with underscores, the likeliest first.

`OTHER_COLUMNS` are no columns of raw.interactions: they ask for a query or a condition.
"""
OTHER_COLUMNS = (
    *("unit_price", "status", "line_discount", "discount", "refund", "currency", "exchange_rate"),
)
REQUIRED: dict[str, tuple[tuple[str, ...], ...]] = {
    "interactions": (("user_id",), ("item_id",), ("occurred_at",)),
    "users": (("user_id",), ("birthday", "age_bracket", "gender", "location", "signed_up_on")),
    "user_aliases": (("alias",), ("user_id",)),
    "items": (("item_id",), ("title", "price")),
    "reviews": (("text",), ("rating", "headline", "written_at"), ("item_id",)),
    "inventory": (("item_id",), ("on_hand",)),
}
"""Of each group of columns, a file of the table has at least one."""


@dataclass(frozen=True)
class FileGuess:
    """The raw table that a file probably belongs to, and the columns that match.

    Attributes:
        table: the raw table.
        columns: column of the table, or one of `OTHER_COLUMNS`, to column of the file.
    """

    table: str
    columns: Mapping[str, str]


def guess_table(name: str, file_columns: Collection[str]) -> FileGuess | None:
    """The raw table of a file; None if it fits none.

    Args:
        name: of the file, with its folders.
        file_columns: names of its columns.
    """
    best: tuple[float, FileGuess] | None = None
    for table in COLUMN_HINTS:
        columns = _match(table, file_columns)
        if not all(any(column in columns for column in group) for group in REQUIRED[table]):
            continue
        hint = any(part in name.lower() for part in NAME_HINTS[table])
        score = 3.0 * hint + len(REQUIRED[table]) + 0.1 * len(columns)
        if best is None or score > best[0]:
            best = score, FileGuess(table, columns)
    return best[1] if best else None


def _match(table: str, file_columns: Collection[str]) -> dict[str, str]:
    """Column of the table to column of the file, each file column once, the likeliest first."""
    by_name: dict[str, str] = {}
    for column in file_columns:
        by_name.setdefault(normalise_name(column), column)
    matches: dict[str, str] = {}
    for column, names in COLUMN_HINTS[table].items():
        for name in names.split():
            if name in by_name and by_name[name] not in matches.values():
                matches[column] = by_name[name]
                break
    return matches


def names_price(column: str) -> bool:
    """Returns whether the name of a column has a word for a price."""
    return any(word in normalise_name(column) for word in _PRICE.split())


def normalise_name(column: str) -> str:
    """A column's name in lower case without accents, with underscores in place of other signs."""
    letters = unicodedata.normalize("NFKD", column.strip().casefold())
    plain = "".join(sign for sign in letters if not unicodedata.combining(sign))
    return re.sub(r"[^0-9a-z]+", "_", plain).strip("_")


def pattern_of(names: Collection[str]) -> str:
    """A pattern for the files of one kind: digits and values of folders become `*`."""
    patterns = {general_name(name) for name in names} if len(names) > 1 else {*names}
    return sorted(patterns, key=lambda pattern: (len(pattern), pattern))[0]


def general_name(name: str) -> str:
    """A pattern for files that are named like a file, such as those of later months."""
    parts = [re.sub(r"=.*", "=*", part) if "=" in part else part for part in name.split("/")]
    parts[-1] = re.sub(r"\d+(?:[-_:T.]\d+)*(?=.*\.)", "*", parts[-1])
    return re.sub(r"\*+", "*", "/".join(parts))

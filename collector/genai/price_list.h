/* The built-in price list: what the public models cost by their makers' price pages, in the format of docs/prices.md.
 * A list price is a starting point: the owner's document goes before it, row by row.
 */
#ifndef COLLECTOR_GENAI_PRICE_LIST_H
#define COLLECTOR_GENAI_PRICE_LIST_H

#define PRICE_LIST_DATE "2026-10" /* when the list was last gone through */
extern const char price_list_yaml[];

#endif

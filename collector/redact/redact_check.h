/* Checksums and rules of numbers: does this string of digits mean what it looks like?
 *
 * Thread: any.  Failure: none: no is no.
 * Every function takes the characters without separators. Sources: ISO/IEC 7812-1 (Luhn), ISO 13616 (IBAN), ISO 7064 (MOD 97-10, MOD 11,10),
 * and each authority's own description, named at the function.
 */
#ifndef COLLECTOR_REDACT_REDACT_CHECK_H
#define COLLECTOR_REDACT_REDACT_CHECK_H

#include "base/bytes.h"

bool redact_check_luhn(const char *digits, size_t n);
bool redact_check_card(const char *digits, size_t n); /* issuer's range, its lengths, Luhn */
size_t redact_check_iban_length(const char *country); /* 0: none of the registry */
bool redact_check_iban(const char *text, size_t n); /* upper case */
bool redact_check_us_ssn(const char *digits); /* 9 */
bool redact_check_uk_nino(const char *text); /* 9: AB123456C */
bool redact_check_de_steuer_id(const char *digits); /* 11 */
bool redact_check_nl_bsn(const char *digits); /* 9 */
bool redact_check_es_dni(const char *digits, char letter); /* 8 and a letter */
bool redact_check_it_codice_fiscale(const char *text); /* 16 */
bool redact_check_fr_nir(const char *digits); /* 15 */
bool redact_check_pl_pesel(const char *digits); /* 11 */
bool redact_check_se_personnummer(const char *digits); /* 10: YYMMDDNNNC */
bool redact_check_br_cpf(const char *digits); /* 11 */
bool redact_check_in_aadhaar(const char *digits); /* 12 */

#endif

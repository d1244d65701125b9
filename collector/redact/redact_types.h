/* The kinds of sensitive data that are known by themselves, their groups, and what is done with them unless the configuration says otherwise.
 *
 * Owner: process, immutable.  Thread: any.
 * Invariant: names are label values and parts of placeholders that are stored: append only, never renamed.
 */
#ifndef COLLECTOR_REDACT_REDACT_TYPES_H
#define COLLECTOR_REDACT_REDACT_TYPES_H

#include "collector/redact/redact.h"

enum redact_group {
    REDACT_SECRET,
    REDACT_FINANCIAL,
    REDACT_NATIONAL_ID,
    REDACT_CONTACT,
    REDACT_GROUP_COUNT
};

/* X(NAME, "name", GROUP). Actions follow from the group; public addresses of machines are kept everywhere. */
/* clang-format off */
#define REDACT_TYPES(X)                                                                             \
    X(PRIVATE_KEY, "private_key", SECRET)               X(JWT, "jwt", SECRET)                       \
    X(URL_PASSWORD, "url_password", SECRET)             X(PASSWORD, "password", SECRET)             \
    X(API_KEY, "api_key", SECRET)                       X(BEARER_TOKEN, "bearer_token", SECRET)     \
    X(BASIC_AUTH, "basic_auth", SECRET)                 X(OPENAI_KEY, "openai_key", SECRET)         \
    X(ANTHROPIC_KEY, "anthropic_key", SECRET)           X(OPENROUTER_KEY, "openrouter_key", SECRET) \
    X(AWS_ACCESS_KEY, "aws_access_key", SECRET)         X(AWS_SECRET_KEY, "aws_secret_key", SECRET) \
    X(GOOGLE_API_KEY, "google_api_key", SECRET)         X(GOOGLE_OAUTH, "google_oauth", SECRET)     \
    X(AZURE_KEY, "azure_key", SECRET)                   X(GITHUB_TOKEN, "github_token", SECRET)     \
    X(GITLAB_TOKEN, "gitlab_token", SECRET)             X(SLACK_TOKEN, "slack_token", SECRET)       \
    X(SLACK_WEBHOOK, "slack_webhook", SECRET)           X(STRIPE_KEY, "stripe_key", SECRET)         \
    X(HUGGINGFACE_TOKEN, "huggingface_token", SECRET)   X(NPM_TOKEN, "npm_token", SECRET)           \
    X(PYPI_TOKEN, "pypi_token", SECRET)                 X(SENDGRID_KEY, "sendgrid_key", SECRET)     \
    X(DIGITALOCEAN_TOKEN, "digitalocean_token", SECRET) X(SHOPIFY_TOKEN, "shopify_token", SECRET)   \
    X(GROQ_KEY, "groq_key", SECRET)                     X(XAI_KEY, "xai_key", SECRET)               \
    X(PERPLEXITY_KEY, "perplexity_key", SECRET)         X(REPLICATE_TOKEN, "replicate_token", SECRET) \
    X(DATABRICKS_TOKEN, "databricks_token", SECRET)     X(LANGFUSE_KEY, "langfuse_key", SECRET)     \
    X(CARD, "card", FINANCIAL)                          X(IBAN, "iban", FINANCIAL)                  \
    X(US_SSN, "us_ssn", NATIONAL_ID)                    X(UK_NINO, "uk_nino", NATIONAL_ID)          \
    X(DE_STEUER_ID, "de_steuer_id", NATIONAL_ID)        X(NL_BSN, "nl_bsn", NATIONAL_ID)            \
    X(ES_DNI, "es_dni", NATIONAL_ID)                    X(ES_NIE, "es_nie", NATIONAL_ID)            \
    X(IT_CODICE_FISCALE, "it_codice_fiscale", NATIONAL_ID) X(FR_NIR, "fr_nir", NATIONAL_ID)         \
    X(PL_PESEL, "pl_pesel", NATIONAL_ID)                X(SE_PERSONNUMMER, "se_personnummer", NATIONAL_ID) \
    X(BR_CPF, "br_cpf", NATIONAL_ID)                    X(IN_AADHAAR, "in_aadhaar", NATIONAL_ID)    \
    X(EMAIL, "email", CONTACT)                          X(PHONE, "phone", CONTACT)                  \
    X(IP, "ip", CONTACT)
/* clang-format on */
enum redact_type {
#define X(name, text, group) REDACT_TYPE_##name,
    REDACT_TYPES(X)
#undef X
        REDACT_TYPE_COUNT /* own patterns come behind */
};
#define REDACT_TYPES_MAX (REDACT_TYPE_COUNT + REDACT_PATTERNS_MAX)

struct redact_type_info {
    const char *name;
    enum redact_group group;
};
extern const struct redact_type_info redact_types[REDACT_TYPE_COUNT];
extern const char *const redact_types_groups[REDACT_GROUP_COUNT];

/* Where a text stands decides with its kind what is done. */
enum redact_zone {
    REDACT_ELSEWHERE, /* attributes, log bodies, names */
    REDACT_CONTENT, /* prompts, answers, documents, tools' arguments and results */
    REDACT_ZONE_COUNT
};

#endif

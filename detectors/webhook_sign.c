/* Standard Webhooks signatures (standardwebhooks.com, specification 1.0). */
#include "detectors/webhook.h"
#include "base/check.h"
#include <sodium.h>
#include <stdio.h>

#define SECRET_PREFIX "whsec_"
#define KEY_MAX 256u

/* The key bytes: base64 after "whsec_", else the text itself. */
static bool key_of(const char *secret, uint8_t key[KEY_MAX], size_t *out_size)
{
    size_t n = strlen(secret), prefix = strlen(SECRET_PREFIX);
    if (strncmp(secret, SECRET_PREFIX, prefix) == 0)
        return sodium_base642bin(key, KEY_MAX, secret + prefix, n - prefix, NULL, out_size, NULL,
                                 sodium_base64_VARIANT_ORIGINAL) == 0;
    if (n > KEY_MAX)
        return false;
    memcpy(key, secret, n);
    *out_size = n;
    return true;
}

enum err webhook_secret_check(const char *secret, struct err_msg *msg)
{
    uint8_t key[KEY_MAX];
    size_t n = 0;
    bool ok = key_of(secret, key, &n);
    sodium_memzero(key, sizeof(key));
    if (!ok)
        return err_set(msg, ERR_INVALID,
                       "a secret must be whsec_ and base64, or up to 256 bytes of text");
    if (n < 16)
        return err_set(msg, ERR_INVALID, "a secret must hold at least 16 bytes");
    return ERR_OK;
}

void webhook_sign(const char *const *secrets, const char *id, int64_t timestamp_s,
                  struct bytes body, char out[WEBHOOK_SIGNATURES_MAX])
{
    char head[320];
    int head_size = snprintf(head, sizeof(head), "%s.%lld.", id, (long long)timestamp_s);
    CHECK(head_size > 0 && (size_t)head_size < sizeof(head));
    size_t used = 0;
    out[0] = 0;
    for (size_t i = 0; i < DETECTORS_SECRETS_MAX && secrets[i]; i++) {
        uint8_t key[KEY_MAX], mac[crypto_auth_hmacsha256_BYTES];
        size_t key_size = 0;
        if (!key_of(secrets[i], key, &key_size))
            continue; /* refused when the receiver was loaded */
        crypto_auth_hmacsha256_state st;
        crypto_auth_hmacsha256_init(&st, key, key_size);
        crypto_auth_hmacsha256_update(&st, (const uint8_t *)head, (size_t)head_size);
        crypto_auth_hmacsha256_update(&st, body.data, body.size);
        crypto_auth_hmacsha256_final(&st, mac);
        char text[sodium_base64_ENCODED_LEN(sizeof(mac), sodium_base64_VARIANT_ORIGINAL)];
        sodium_bin2base64(text, sizeof(text), mac, sizeof(mac), sodium_base64_VARIANT_ORIGINAL);
        used += (size_t)snprintf(out + used, WEBHOOK_SIGNATURES_MAX - used, "%sv1,%s",
                                 used ? " " : "", text);
        CHECK(used < WEBHOOK_SIGNATURES_MAX);
        sodium_memzero(key, sizeof(key));
    }
}

/* The way back from PagerDuty: its webhooks (version 3) tell that somebody has acknowledged or resolved the incident of an alert. */
#include <sodium.h>
#include <stdio.h>

#include "base/check.h"
#include "base/json_in.h"
#include "detectors/acks.h"
#include "detectors/evaluator.h"

#define BODY_DEPTH 16u
#define SIGNATURE_HEX 64u

static const struct detectors_receiver *receiver_of(const struct detectors *d, struct bytes name)
{
    for (size_t i = 0; i < d->o.receiver_count; i++)
        if (d->o.receivers[i].kind == DETECTORS_PAGERDUTY && d->o.receivers[i].secrets[0] &&
            bytes_equal_str(name, d->o.receivers[i].name))
            return &d->o.receivers[i];
    return NULL;
}

static bool is_of(const char *secret, struct bytes body, struct bytes hex)
{
    uint8_t mac[crypto_auth_hmacsha256_BYTES];
    char want[SIGNATURE_HEX + 1];
    crypto_auth_hmacsha256_state s;
    crypto_auth_hmacsha256_init(&s, (const uint8_t *)secret, strlen(secret));
    crypto_auth_hmacsha256_update(&s, body.data, body.size);
    crypto_auth_hmacsha256_final(&s, mac);
    bytes_to_hex(bytes_of(mac, sizeof(mac)), want);
    return hex.size == SIGNATURE_HEX && sodium_memcmp(hex.data, want, SIGNATURE_HEX) == 0;
}

/* "v1=HEX,v1=HEX": one of them is made with one of the receiver's secrets. */
static bool is_signed(const struct detectors_receiver *r, struct bytes body, struct bytes header)
{
    bool ok = false;
    while (header.size && !ok) {
        size_t end = bytes_find(header, BYTES_LIT(","));
        struct bytes one = bytes_trim(bytes_slice(header, 0, end));
        for (size_t i = 0; i < DETECTORS_SECRETS_MAX && r->secrets[i] && !ok; i++)
            ok = bytes_has_prefix(one, BYTES_LIT("v1=")) &&
                 is_of(r->secrets[i], body, bytes_slice(one, 3, one.size));
        header = bytes_slice(header, MIN(end + 1, header.size), header.size);
    }
    return ok;
}

static enum err take(struct detectors *d, const struct json_node *event, bool *out_taken,
                     struct err_msg *msg)
{
    struct bytes type = json_get_str(event, "event_type"),
                 key = json_get_str(json_get(event, "data"), "incident_key"),
                 who = json_get_str(json_get(event, "agent"), "summary");
    bool resolved = bytes_equal_str(type, "incident.resolved");
    char by[DETECTORS_ACK_BY_MAX];
    struct err_msg why = {""};
    if (!resolved && !bytes_equal_str(type, "incident.acknowledged"))
        return ERR_OK;
    who = who.size && bytes_is_utf8(who) && !memchr(who.data, 0, who.size)
              ? bytes_slice(who, 0, MIN(who.size, (size_t)64))
              : BYTES_LIT("somebody");
    while (!bytes_is_utf8(who))
        who.size--;
    snprintf(by, sizeof(by), BYTES_FMT " (PagerDuty%s)", BYTES_ARG(who),
             resolved ? ", resolved" : "");
    enum err e = detectors_ack_put(d, key, bytes_str(by), &why);
    *out_taken = e == ERR_OK;
    /* an incident of somebody else's, or an alert that is over: nothing that PagerDuty could do about */
    return e == ERR_NOT_FOUND || e == ERR_OK ? ERR_OK : err_set(msg, e, "%s", why.text);
}

enum err detectors_ack_pagerduty(struct detectors *d, struct bytes receiver,
                                 struct bytes signatures, struct bytes body, bool *out_taken,
                                 struct err_msg *msg)
{
    const struct detectors_receiver *r = receiver_of(d, receiver);
    struct arena *a;
    struct json_node *root;
    *out_taken = false;
    if (!r || !is_signed(r, body, signatures))
        return err_set(msg, ERR_FORBIDDEN,
                       "there is no such receiver with `secrets`, or the signature is not of one");
    if (!(a = arena_new((size_t)16 << 20)))
        return ERR_NOMEM;
    enum err e = json_in_tree(body, BODY_DEPTH, a, &root, msg);
    if (e == ERR_OK)
        e = take(d, json_get(root, "event"), out_taken, msg);
    arena_free(a);
    return e;
}

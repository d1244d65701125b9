#include "web/web_assets.h"

#include "web/web_call.h"

/* Nothing but our own files runs or loads; uPlot and Preact set styles through the DOM's properties, which the policy does not touch. */
static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; img-src "
                             "'self' data:; connect-src 'self'; "
                             "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

static bool accepts_gzip(const struct net_request *req)
{
    struct bytes accepted = net_request_header(req, "accept-encoding");
    return bytes_find(accepted, BYTES_LIT("gzip")) < accepted.size;
}

static void serve(struct net_request *req, const struct web_asset *a)
{
    struct net_header headers[] = {
        WEB_CALL_SAFE_HEADERS,
        {"Content-Security-Policy", policy},
        {"Cross-Origin-Opener-Policy", "same-origin"},
        {"Permissions-Policy", "camera=(), geolocation=(), microphone=()"},
        {"Vary", "Accept-Encoding"},
        {"ETag", a->etag},
        {"Cache-Control", a->immutable ? "public, max-age=31536000, immutable" : "no-cache"},
        {"Content-Encoding", "gzip"}, /* last: left out for plain bytes */
    };
    unsigned n = sizeof headers / sizeof headers[0];
    bool gzip = accepts_gzip(req);
    struct net_response r = {.status = 200,
                             .content_type = a->content_type,
                             .headers = headers,
                             .header_count = gzip ? n : n - 1,
                             .body = gzip ? a->gzip : a->plain,
                             .body_static = true};
    if (bytes_equal_str(net_request_header(req, "if-none-match"), a->etag)) {
        r.status = 304;
        r.body = BYTES_NONE;
        r.header_count = n - 1;
    }
    net_reply(req, &r);
}

static void serve_asset(void *ctx, struct net_request *req)
{
    serve(req, ctx);
}

static void redirect(void *ctx, struct net_request *req)
{
    static const struct net_header headers[] = {WEB_CALL_SAFE_HEADERS, {"Location", "/oncall"}};
    net_reply(req, &(struct net_response){.status = 302, .headers = headers, .header_count = 4});
}

static enum err route(struct net *net, const char *pattern, net_handler handler, void *ctx)
{
    return net_route(net, &(struct net_route){.doors = NET_DOOR_MASK(NET_WEB),
                                              .method = "GET",
                                              .pattern = pattern,
                                              .handler = handler,
                                              .ctx = ctx,
                                              .body_max = WEB_BODY_MAX,
                                              .flags = NET_ROUTE_OPEN | NET_ROUTE_LOW});
}

enum err web_assets_routes(struct web *w, struct net *net)
{
    /* addresses of the page: the script shows what the path says */
    static const char *const pages[] = {"/oncall",    "/traces", "/trace/{}", "/sessions",
                                        "/session/*", "/costs",  "/grounding"};
    const struct web_asset *index = NULL;
    enum err e = route(net, "/", redirect, w);
    for (size_t i = 0; e == ERR_OK && i < web_assets_count; i++) {
        const struct web_asset *a = &web_assets_table[i];
        if (bytes_equal_str(bytes_str(a->path), "/index.html"))
            index = a;
        else
            e = route(net, a->path, serve_asset, (void *)(uintptr_t)a);
    }
    for (size_t i = 0; e == ERR_OK && index && i < sizeof pages / sizeof pages[0]; i++)
        e = route(net, pages[i], serve_asset, (void *)(uintptr_t)index);
    return e;
}

#include "collector/genai/price_list.h"

#define M(model, text) "- {model: " model ", " text "}\n"
#define P(provider, model, text) "- {model: " model ", provider: " provider ", " text "}\n"
#define IO(i, o) "input: " #i ", output: " #o
#define IOC(i, o, c) IO(i, o) ", cache_read: " #c
/* Anthropic: a cache write costs 1.25 inputs for 5 minutes and 2 for an hour; both are spelled out, so that the list can be read. */
#define CLAUDE(i, o, c, w, h) IOC(i, o, c) ", cache_write: " #w ", cache_write_1h: " #h
#define IOCW(i, o, c, w) IOC(i, o, c) ", cache_write: " #w
#define TIERS(t) ", tiers: [" t "]"
#define ABOVE(n, t) "{above: " #n ", " t "}"
#define FLEX(t) "{tier: flex, " t "}"
#define PRIORITY(t) "{tier: priority, " t "}"
#define FAST(t) "{tier: fast, " t "}"

#define GPT_5_6(i, o, c, w, li, lo, lc, lw, fi, fo, fc, fw, pi, po, pc, pw)                \
    IOCW(i, o, c, w)                                                                       \
    TIERS(ABOVE(272000, IOCW(li, lo, lc, lw)) "," FLEX(IOCW(fi, fo, fc, fw)) "," PRIORITY( \
        IOCW(pi, po, pc, pw)))

/* A model without a batch row has half of the plain price there. Models whose calls carry a fee that the span does not tell (a search, a
 * session) are left out: their price is unknown rather than too low. */
/* clang-format off */
const char price_list_yaml[] =
    "prices:\n"
    /* --- OpenAI ----------------------------------------------------------------------------------- */
    M("gpt-5.6", GPT_5_6(5, 30, 0.5, 6.25, 10, 45, 1, 12.5, 2.5, 15, 0.25, 3.125, 10, 60, 1, 12.5))
    M("gpt-5.6-sol", GPT_5_6(5, 30, 0.5, 6.25, 10, 45, 1, 12.5, 2.5, 15, 0.25, 3.125, 10, 60, 1, 12.5))
    M("gpt-5.6-terra", GPT_5_6(2.5, 15, 0.25, 3.125, 5, 22.5, 0.5, 6.25, 1.25, 7.5, 0.125, 1.5625, 5, 30, 0.5, 6.25))
    M("gpt-5.6-luna", GPT_5_6(1, 6, 0.1, 1.25, 2, 9, 0.2, 2.5, 0.5, 3, 0.05, 0.625, 2, 12, 0.2, 2.5))
    M("gpt-5.5", IOC(5, 30, 0.5) TIERS(ABOVE(272000, IOC(10, 45, 1)) "," FLEX(IOC(2.5, 15, 0.25)) "," PRIORITY(IOC(10, 60, 1))))
    M("gpt-5.5-pro", IOC(30, 180, 3) TIERS(ABOVE(272000, IOC(60, 270, 6)) "," FLEX(IO(15, 90))))
    M("gpt-5.4", IOC(2.5, 15, 0.25) TIERS(ABOVE(272000, IOC(5, 22.5, 0.5))))
    M("gpt-5.2", IOC(1.75, 14, 0.175) TIERS(PRIORITY(IOC(3.5, 28, 0.35)) "," FLEX(IOC(0.875, 7, 0.0875))))
    M("gpt-5.1", IOC(1.25, 10, 0.125) TIERS(PRIORITY(IOC(2.5, 20, 0.25)) "," FLEX(IOC(0.625, 5, 0.0625))))
    M("gpt-5.1-codex", IOC(1.25, 10, 0.125) TIERS(PRIORITY(IOC(2.5, 20, 0.25))))
    M("gpt-5", IOC(1.25, 10, 0.125) TIERS(PRIORITY(IOC(2.5, 20, 0.25)) "," FLEX(IOC(0.625, 5, 0.0625))))
    M("gpt-5-codex", IOC(1.25, 10, 0.125) TIERS(PRIORITY(IOC(2.5, 20, 0.25))))
    M("gpt-5-mini", IOC(0.25, 2, 0.025) TIERS(PRIORITY(IOC(0.45, 3.6, 0.045)) "," FLEX(IOC(0.125, 1, 0.0125))))
    M("gpt-5-nano", IOC(0.05, 0.4, 0.005) TIERS(FLEX(IOC(0.025, 0.2, 0.0025))))
    M("gpt-5.2-pro", IO(21, 168))
    M("gpt-5-pro", IO(15, 120))
    M("gpt-4.1", IOC(2, 8, 0.5) TIERS(PRIORITY(IOC(3.5, 14, 0.875))))
    M("gpt-4.1-mini", IOC(0.4, 1.6, 0.1) TIERS(PRIORITY(IOC(0.7, 2.8, 0.175))))
    M("gpt-4.1-nano", IOC(0.1, 0.4, 0.025) TIERS(PRIORITY(IOC(0.2, 0.8, 0.05))))
    M("gpt-4o", IOC(2.5, 10, 1.25) TIERS(PRIORITY(IOC(4.25, 17, 2.125))))
    M("gpt-4o-2024-05-13", IO(5, 15) TIERS(PRIORITY(IO(8.75, 26.25))))
    M("gpt-4o-mini", IOC(0.15, 0.6, 0.075) TIERS(PRIORITY(IOC(0.25, 1, 0.125))))
    M("gpt-4o-audio", IO(2.5, 10) ", audio_input: 40, audio_output: 80")
    M("gpt-4o-mini-audio", IO(0.15, 0.6) ", audio_input: 10, audio_output: 20")
    M("gpt-4o-realtime", IOC(5, 20, 2.5) ", audio_input: 40, audio_output: 80, audio_cache_read: 2.5")
    M("gpt-4o-mini-realtime", IOC(0.6, 2.4, 0.3) ", audio_input: 10, audio_output: 20, audio_cache_read: 0.3")
    M("gpt-audio", IO(2.5, 10) ", audio_input: 32, audio_output: 64")
    M("gpt-realtime", IOC(4, 16, 0.4) ", audio_input: 32, audio_output: 64, audio_cache_read: 0.4, image_input: 5, image_cache_read: 0.5")
    M("gpt-realtime-mini", IOC(0.6, 2.4, 0.06) ", audio_input: 10, audio_output: 20, audio_cache_read: 0.3, image_input: 0.8, image_cache_read: 0.08")
    M("gpt-image-2", IOC(5, 10, 1.25) ", image_input: 8, image_output: 30")
    M("gpt-image-1.5", IOC(5, 10, 1.25) ", image_input: 8, image_output: 32")
    M("gpt-image-1", IOC(5, 40, 1.25) ", image_input: 10, image_cache_read: 2.5, image_output: 40")
    M("gpt-4-turbo", IO(10, 30))
    M("gpt-4", IO(30, 60))
    M("gpt-3.5-turbo", IO(0.5, 1.5))
    M("o1", IOC(15, 60, 7.5))
    M("o1-pro", IO(150, 600))
    M("o1-preview", IOC(15, 60, 7.5))
    M("o1-mini", IOC(1.1, 4.4, 0.55))
    M("o3", IOC(2, 8, 0.5) TIERS(PRIORITY(IOC(3.5, 14, 0.875)) "," FLEX(IOC(1, 4, 0.25))))
    M("o3-pro", IO(20, 80))
    M("o3-mini", IOC(1.1, 4.4, 0.55))
    M("o4-mini", IOC(1.1, 4.4, 0.275) TIERS(PRIORITY(IOC(2, 8, 0.5)) "," FLEX(IOC(0.55, 2.2, 0.1375))))
    M("text-embedding-3-small", IO(0.02, 0))
    M("text-embedding-3-large", IO(0.13, 0))
    M("text-embedding-ada-002", IO(0.1, 0))
    /* --- Anthropic -------------------------------------------------------------------------------- */
    M("claude-opus-4-6", CLAUDE(5, 25, 0.5, 6.25, 10)
        TIERS(ABOVE(200000, CLAUDE(10, 37.5, 1, 12.5, 20)) "," FAST(CLAUDE(30, 150, 3, 37.5, 60))))
    M("claude-opus-4-5", CLAUDE(5, 25, 0.5, 6.25, 10))
    M("claude-opus-4-1", CLAUDE(15, 75, 1.5, 18.75, 30))
    M("claude-opus-4", CLAUDE(15, 75, 1.5, 18.75, 30))
    M("claude-sonnet-4-6", CLAUDE(3, 15, 0.3, 3.75, 6) TIERS(ABOVE(200000, CLAUDE(6, 22.5, 0.6, 7.5, 12))))
    M("claude-sonnet-4-5", CLAUDE(3, 15, 0.3, 3.75, 6) TIERS(ABOVE(200000, CLAUDE(6, 22.5, 0.6, 7.5, 12))))
    M("claude-sonnet-4", CLAUDE(3, 15, 0.3, 3.75, 6) TIERS(ABOVE(200000, CLAUDE(6, 22.5, 0.6, 7.5, 12))))
    M("claude-haiku-4-5", CLAUDE(1, 5, 0.1, 1.25, 2))
    M("claude-3-7-sonnet", CLAUDE(3, 15, 0.3, 3.75, 6))
    M("claude-3-5-sonnet", CLAUDE(3, 15, 0.3, 3.75, 6))
    M("claude-3-5-haiku", CLAUDE(0.8, 4, 0.08, 1, 1.6))
    M("claude-3-opus", CLAUDE(15, 75, 1.5, 18.75, 30))
    M("claude-3-haiku", CLAUDE(0.25, 1.25, 0.03, 0.3, 0.5))
    /* --- Google ----------------------------------------------------------------------------------- */
    M("gemini-3-pro", IOC(2, 12, 0.2) TIERS(ABOVE(200000, IOC(4, 18, 0.4))))
    M("gemini-2.5-pro", IOC(1.25, 10, 0.125) TIERS(ABOVE(200000, IOC(2.5, 15, 0.25))))
    M("gemini-2.5-flash", IOC(0.3, 2.5, 0.03) ", audio_input: 1, audio_cache_read: 0.1")
    M("gemini-2.5-flash-lite", IOC(0.1, 0.4, 0.01) ", audio_input: 0.3, audio_cache_read: 0.03")
    M("gemini-2.0-flash", IOC(0.1, 0.4, 0.025) ", audio_input: 0.7, audio_cache_read: 0.175")
    M("gemini-2.0-flash-lite", IO(0.075, 0.3))
    M("gemini-1.5-pro", IOC(1.25, 5, 0.3125) TIERS(ABOVE(128000, IOC(2.5, 10, 0.625))))
    M("gemini-1.5-flash", IOC(0.075, 0.3, 0.01875) TIERS(ABOVE(128000, IOC(0.15, 0.6, 0.0375))))
    M("gemini-embedding-001", IO(0.15, 0))
    /* --- others ----------------------------------------------------------------------------------- */
    M("mistral-large", IO(2, 6))
    M("mistral-small", IO(0.1, 0.3))
    M("codestral", IO(0.3, 0.9))
    M("command-a", IO(2.5, 10))
    M("command-r-plus", IO(2.5, 10))
    M("command-r", IO(0.15, 0.6))
    M("deepseek-chat", "until: 2025-09-05, " IOC(0.27, 1.1, 0.07))
    M("deepseek-chat", "from: 2025-09-05, until: 2025-09-29, " IOC(0.56, 1.68, 0.07))
    M("deepseek-chat", "from: 2025-09-29, " IOC(0.28, 0.42, 0.028))
    M("deepseek-reasoner", "until: 2025-09-05, " IOC(0.55, 2.19, 0.14))
    M("deepseek-reasoner", "from: 2025-09-05, until: 2025-09-29, " IOC(0.56, 1.68, 0.07))
    M("deepseek-reasoner", "from: 2025-09-29, " IOC(0.28, 0.42, 0.028))
    M("grok-4", IOC(3, 15, 0.75) TIERS(ABOVE(128000, IO(6, 30))))
    M("grok-3", IOC(3, 15, 0.75))
    M("grok-3-mini", IOC(0.3, 0.5, 0.075))
    M("llama-3.3-70b-versatile", IO(0.59, 0.79))
    M("llama-3.1-8b-instant", IO(0.05, 0.08))
    P("aws.bedrock", "nova-pro", IOC(0.8, 3.2, 0.2))
    P("aws.bedrock", "nova-lite", IOC(0.06, 0.24, 0.015))
    P("aws.bedrock", "nova-micro", IOC(0.035, 0.14, 0.00875));
/* clang-format on */

#include "collector/genai/model_family.h"

#include "base/check.h"
#include "collector/genai/genai.h"

struct pair {
    const char *from, *to;
};

/* Whole names that the suffix rules would get wrong, before and after they ran. */
static const struct pair exact_aliases[] = {
    {"gpt-4-1106-preview", "gpt-4-turbo"},
    {"gpt-4-0125-preview", "gpt-4-turbo"},
    {"gpt-4-turbo-preview", "gpt-4-turbo"},
    {"gpt-4-vision-preview", "gpt-4-turbo"},
    {"o1-preview", "o1-preview"},
    {"gpt-35-turbo", "gpt-3.5-turbo"},
    {"gpt-35-turbo-16k", "gpt-3.5-turbo"},
    {"gpt-3.5-turbo-16k", "gpt-3.5-turbo"},
    {"chatgpt-4o", "gpt-4o"},
    {"claude-opus-4-0", "claude-opus-4"},
    {"claude-sonnet-4-0", "claude-sonnet-4"},
    {"claude-4-opus", "claude-opus-4"},
    {"claude-4-sonnet", "claude-sonnet-4"},
    {"claude-4.5-sonnet", "claude-sonnet-4-5"},
    {"claude-sonnet-4.5", "claude-sonnet-4-5"},
    {"claude-opus-4.1", "claude-opus-4-1"},
    {"claude-opus-4.5", "claude-opus-4-5"},
    {"claude-opus-4.6", "claude-opus-4-6"},
    {"claude-haiku-4.5", "claude-haiku-4-5"},
    {"claude-3.5-sonnet", "claude-3-5-sonnet"},
    {"claude-3.5-haiku", "claude-3-5-haiku"},
    {"claude-3.7-sonnet", "claude-3-7-sonnet"},
    {"gemini-pro", "gemini-1.0-pro"},
};

static const struct pair providers[] = {
    {"openai", "openai"},
    {"anthropic", "anthropic"},
    {"az.ai.openai", "azure.ai.openai"},
    {"azure", "azure.ai.openai"},
    {"azure_openai", "azure.ai.openai"},
    {"azure-openai", "azure.ai.openai"},
    {"azureopenai", "azure.ai.openai"},
    {"azure.ai.openai", "azure.ai.openai"},
    {"az.ai.inference", "azure.ai.inference"},
    {"azure.ai.inference", "azure.ai.inference"},
    {"azure_ai", "azure.ai.inference"},
    {"vertex_ai", "gcp.vertex_ai"},
    {"vertexai", "gcp.vertex_ai"},
    {"google-vertex", "gcp.vertex_ai"},
    {"google.vertex", "gcp.vertex_ai"},
    {"gcp.vertex_ai", "gcp.vertex_ai"},
    {"gemini", "gcp.gemini"},
    {"google", "gcp.gemini"},
    {"google_genai", "gcp.gemini"},
    {"google.generative-ai", "gcp.gemini"},
    {"gcp.gemini", "gcp.gemini"},
    {"gcp.gen_ai", "gcp.gen_ai"},
    {"bedrock", "aws.bedrock"},
    {"aws_bedrock", "aws.bedrock"},
    {"aws", "aws.bedrock"},
    {"amazon-bedrock", "aws.bedrock"},
    {"amazon_bedrock", "aws.bedrock"},
    {"aws.bedrock", "aws.bedrock"},
    {"xai", "x_ai"},
    {"x_ai", "x_ai"},
    {"mistral", "mistral_ai"},
    {"mistralai", "mistral_ai"},
    {"mistral_ai", "mistral_ai"},
    {"cohere", "cohere"},
    {"groq", "groq"},
    {"deepseek", "deepseek"},
    {"perplexity", "perplexity"},
    {"watsonx", "ibm.watsonx.ai"},
    {"ibm.watsonx.ai", "ibm.watsonx.ai"},
    {"moonshot", "moonshot_ai"},
    {"moonshot_ai", "moonshot_ai"},
    {"ollama", "ollama"},
    {"vllm", "vllm"},
    {"hosted_vllm", "vllm"},
};

static const struct pair makers[] = {
    {"gpt-", "openai"},
    {"o1", "openai"},
    {"o3", "openai"},
    {"o4", "openai"},
    {"text-embedding-3", "openai"},
    {"text-embedding-ada", "openai"},
    {"claude-", "anthropic"},
    {"gemini-", "gcp.gemini"},
    {"mistral-", "mistral_ai"},
    {"codestral", "mistral_ai"},
    {"command-", "cohere"},
    {"embed-", "cohere"},
    {"rerank-", "cohere"},
    {"deepseek-", "deepseek"},
    {"grok-", "x_ai"},
    {"sonar", "perplexity"},
};

static const struct pair hosts[] = {
    {"api.openai.com", "openai"},
    {"api.anthropic.com", "anthropic"},
    {".openai.azure.com", "azure.ai.openai"},
    {"generativelanguage.googleapis.com", "gcp.gemini"},
    {"aiplatform.googleapis.com", "gcp.vertex_ai"},
    {"api.mistral.ai", "mistral_ai"},
    {"api.groq.com", "groq"},
    {"api.deepseek.com", "deepseek"},
    {"api.x.ai", "x_ai"},
    {"api.cohere.com", "cohere"},
    {"api.perplexity.ai", "perplexity"},
};

static struct bytes pair_find(const struct pair *table, size_t n, struct bytes name)
{
    for (size_t i = 0; i < n; i++)
        if (bytes_equal_nocase(name, bytes_str(table[i].from)))
            return bytes_str(table[i].to);
    return BYTES_NONE;
}

struct bytes model_family_provider(struct bytes name)
{
    struct bytes found = pair_find(providers, ARRAY_LEN(providers), name);
    /* "google.vertex.chat", "anthropic.messages": product forms, longest known head first. */
    for (size_t n = name.size; !found.size && n > 0; n--)
        if (name.data[n - 1] == '.')
            found = pair_find(providers, ARRAY_LEN(providers), bytes_slice(name, 0, n - 1));
    return found.size ? found : name;
}

struct bytes model_family_guess_provider(struct bytes family)
{
    for (size_t i = 0; i < ARRAY_LEN(makers); i++)
        if (bytes_has_prefix(family, bytes_str(makers[i].from)))
            return bytes_str(makers[i].to);
    return BYTES_NONE;
}

struct bytes model_family_provider_of_host(struct bytes host)
{
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (bytes_has_suffix(host, bytes_str(hosts[i].from)))
            return bytes_str(hosts[i].to);
    return BYTES_NONE;
}

/* --- families ---------------------------------------------------------------------------------- */

static bool all_digits(struct bytes s, size_t n)
{
    if (s.size != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
    return true;
}

static struct bytes tail_of(struct bytes m, size_t n)
{
    return m.size > n ? bytes_slice(m, m.size - n, m.size) : BYTES_NONE;
}

static bool strip_text(struct bytes *m, const char *suffix)
{
    size_t n = strlen(suffix);
    if (m->size <= n || !bytes_has_suffix(*m, bytes_str(suffix)))
        return false;
    m->size -= n;
    return true;
}

/* "-20240806", "@20240806", "-0613" */
static bool strip_digits(struct bytes *m, size_t n)
{
    struct bytes tail = tail_of(*m, n);
    if (!all_digits(tail, n) || m->size < n + 2)
        return false;
    uint8_t before = m->data[m->size - n - 1];
    if (before != '-' && before != '@')
        return false;
    m->size -= n + 1;
    return true;
}

static bool strip_date(struct bytes *m)
{
    struct bytes t = tail_of(*m, 11); /* -2024-08-06 */
    if (t.size && t.data[0] == '-' && t.data[5] == '-' && t.data[8] == '-' &&
        all_digits(bytes_slice(t, 1, 5), 4) && all_digits(bytes_slice(t, 6, 8), 2) &&
        all_digits(bytes_slice(t, 9, 11), 2)) {
        m->size -= 11;
        return true;
    }
    t = tail_of(*m, 8); /* -08-2024 */
    if (t.size && t.data[0] == '-' && t.data[3] == '-' && all_digits(bytes_slice(t, 1, 3), 2) &&
        all_digits(bytes_slice(t, 4, 8), 4)) {
        m->size -= 8;
        return true;
    }
    t = tail_of(*m, 6); /* -preview-05-20 */
    if (t.size && t.data[0] == '-' && t.data[3] == '-' && all_digits(bytes_slice(t, 1, 3), 2) &&
        all_digits(bytes_slice(t, 4, 6), 2)) {
        struct bytes head = bytes_slice(*m, 0, m->size - 6);
        if (bytes_has_suffix(head, BYTES_LIT("-preview")) ||
            bytes_has_suffix(head, BYTES_LIT("-exp"))) {
            m->size -= 6;
            return true;
        }
    }
    return strip_digits(m, 8) || strip_digits(m, 4);
}

/* Bedrock's "-v1:0", a service's ":free", "[1m]". */
static bool strip_marks(struct bytes *m)
{
    static const char *const marks[] = {"[1m]",     ":free",   ":latest",  ":thinking", "@latest",
                                        "@default", "-latest", "-preview", "-exp"};
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (strip_text(m, marks[i]))
            return true;
    struct bytes t = tail_of(*m, 5);
    if (t.size && t.data[0] == '-' && t.data[1] == 'v' && t.data[3] == ':' && t.data[2] >= '0' &&
        t.data[2] <= '9' && t.data[4] >= '0' && t.data[4] <= '9') {
        m->size -= 5;
        return true;
    }
    t = tail_of(*m, 4);
    if (bytes_has_prefix(*m, BYTES_LIT("gemini-")) && t.size && t.data[0] == '-' &&
        t.data[1] == '0' && all_digits(bytes_slice(t, 1, 4), 3)) {
        m->size -= 4;
        return true;
    }
    return false;
}

static struct bytes strip_heads(struct bytes m)
{
    static const char *const regions[] = {"us.",     "eu.", "apac.", "global.",
                                          "us-gov.", "jp.", "au."};
    static const char *const vendors[] = {"anthropic.", "amazon.", "meta.",
                                          "mistral.",   "cohere.", "ai21.",
                                          "deepseek.",  "openai.", "qwen."};
    for (size_t i = m.size; i > 0; i--)
        if (m.data[i - 1] == '/') {
            m = bytes_slice(m, i, m.size);
            break;
        }
    for (size_t i = 0; i < ARRAY_LEN(regions); i++)
        if (bytes_has_prefix(m, bytes_str(regions[i]))) {
            m = bytes_slice(m, strlen(regions[i]), m.size);
            break;
        }
    for (size_t i = 0; i < ARRAY_LEN(vendors); i++)
        if (bytes_has_prefix(m, bytes_str(vendors[i])))
            return bytes_slice(m, strlen(vendors[i]), m.size);
    return m;
}

struct bytes model_family_bare(struct bytes model, char scratch[GENAI_MODEL_MAX])
{
    struct bytes given = bytes_trim(model);
    if (given.size == 0 || given.size > GENAI_MODEL_MAX)
        return given;
    for (size_t i = 0; i < given.size; i++) {
        uint8_t c = given.data[i];
        scratch[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
    }
    struct bytes m = strip_heads(bytes_of(scratch, given.size));
    return m.size ? m : given;
}

struct bytes genai_model_family(struct bytes model, char scratch[GENAI_MODEL_MAX])
{
    struct bytes m = model_family_bare(model, scratch);
    uintptr_t at = (uintptr_t)m.data - (uintptr_t)scratch;
    if (at >= GENAI_MODEL_MAX)
        return m; /* empty, too long, or nothing but a head */
    if (bytes_has_prefix(m,
                         BYTES_LIT("ft:"))) { /* ft:gpt-4o-mini-2024-07-18:org::id: priced apart */
        struct bytes rest = bytes_slice(m, 3, m.size);
        m.size = 3 + bytes_find(rest, BYTES_LIT(":"));
    }
    for (int i = 0; i < 4; i++) {
        struct bytes alias = pair_find(exact_aliases, ARRAY_LEN(exact_aliases), m);
        if (alias.size)
            return alias;
        if (!strip_marks(&m) && !strip_date(&m))
            break;
    }
    return m;
}

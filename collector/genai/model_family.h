/* Names of models and providers -> canonical ones. Dated, regional and deployment forms of one model are one family.
 * Owner: static memory and the caller's scratch.  Thread: any.  Failure: none; an unknown name stays itself (in lower case).
 * Limits: names longer than GENAI_MODEL_MAX are left as they are.
 */
#ifndef COLLECTOR_GENAI_MODEL_FAMILY_H
#define COLLECTOR_GENAI_MODEL_FAMILY_H

#include "collector/genai/genai.h"

/* "azure", "az.ai.openai", "openai.chat" -> "azure.ai.openai", "openai"; an unknown name is returned as it is. */
struct bytes model_family_provider(struct bytes name);
/* Who makes this model, by its family name; empty when not known. */
struct bytes model_family_guess_provider(struct bytes family);
/* A model's name in lower case without region, vendor and path before it; date and version stay. In scratch, or as given. */
struct bytes model_family_bare(struct bytes model, char scratch[GENAI_MODEL_MAX]);
/* By the host that was called; empty when not known. */
struct bytes model_family_provider_of_host(struct bytes host);

#endif

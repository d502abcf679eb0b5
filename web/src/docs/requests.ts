import { nameOf, type OpenApi, type Operation, type Parameter, type Response, server, typeText } from "./documents.ts";
import { element, fold, json, members, prose } from "./elements.ts";

/** How much of an endless or large answer is shown, in characters. */
const MAX_SHOWN = 20_000;

/** The operations, each with a form that sends the request. `getToken` returns the token to send, or an empty text. */
export function requests(api: OpenApi, getToken: () => string): HTMLElement {
  const section = element("section", {}, element("h2", {}, "HTTP"));
  for (const tag of api.tags) {
    section.append(element("h3", {}, tag.description));
    for (const [path, methods] of Object.entries(api.paths))
      for (const [method, operation] of Object.entries(methods))
        if (operation.tags.includes(tag.name)) section.append(operationFold(api, path, method.toUpperCase(), operation, getToken));
  }
  return section;
}

function operationFold(api: OpenApi, path: string, method: string, operation: Operation, getToken: () => string): HTMLElement {
  const answers = Object.entries(operation.responses).map(([status, response]) => answerRow(api, status, response));
  return fold(
    [element("code", { class: method.toLowerCase() }, method), " ", element("code", {}, path), ` ${operation.summary}`],
    operation.operationId,
    element("p", {}, operation.description ?? "No token needed."),
    operation.responses["101"] ? undefined : form(path, method, operation, getToken),
    element("h4", {}, "Answers"),
    element("table", {}, ...answers),
    answerBody(api, operation),
  );
}

function answerRow(api: OpenApi, status: string, { $ref, description }: Response): HTMLElement {
  const text = $ref ? api.components.responses[nameOf($ref)]?.description : description;
  return element("tr", {}, element("th", { scope: "row" }, status), element("td", {}, prose(text ?? "")));
}

/** The members of the body of the successful answer, and its example. */
function answerBody(api: OpenApi, operation: Operation): HTMLElement | undefined {
  const [response] = Object.values(operation.responses);
  const content = response?.content?.["application/json"];
  if (!content) return undefined;
  const schema = content.schema.$ref ? api.components.schemas[nameOf(content.schema.$ref)] : content.schema;
  return element("div", {}, element("p", {}, element("code", {}, typeText(content.schema))), schema && members(schema), json(content.example));
}

function form(path: string, method: string, operation: Operation, getToken: () => string): HTMLElement {
  const fields = (operation.parameters ?? []).map((parameter) => ({ parameter, input: parameterInput(parameter) }));
  const content = operation.requestBody?.content["application/json"];
  const body = content && element("textarea", { rows: "3", "aria-label": "body" }, JSON.stringify(content.example));
  const output = element("output", {});
  const made = element(
    "form",
    {},
    ...fields.map(({ parameter, input }) =>
      element("label", {}, element("span", {}, `${parameter.name}${parameter.required ? "" : "?"}`), input, element("small", {}, prose(parameter.description))),
    ),
    body,
    element("button", {}, "Send"),
    output,
  );
  made.addEventListener("submit", (event) => {
    event.preventDefault();
    const values = fields.map(({ parameter, input }) => ({ parameter, value: input.value.trim() }));
    void send(requestUrl(path, values), method, headersOf(values, getToken()), body?.value, output);
  });
  return made;
}

function parameterInput(parameter: Parameter): HTMLInputElement {
  const example = String(parameter.example);
  const input = element("input", { name: parameter.name, placeholder: example, autocomplete: "off" });
  if (parameter.required) input.value = example;
  input.required = parameter.required;
  return input;
}

interface Value {
  parameter: Parameter;
  value: string;
}

export function requestUrl(path: string, values: readonly Value[]): URL {
  let filled = path.slice(1);
  for (const { parameter, value } of values)
    if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value));
  const url = new URL(filled, server);
  for (const { parameter, value } of values) if (parameter.in === "query" && value !== "") url.searchParams.append(parameter.name, value);
  return url;
}

function headersOf(values: readonly Value[], token: string): Headers {
  const headers = new Headers();
  if (token !== "") headers.set("Authorization", `Bearer ${token}`);
  for (const { parameter, value } of values) if (parameter.in === "header" && value !== "") headers.set(parameter.name, value);
  return headers;
}

/** The request of each output that is still being read: a further one takes its place. */
const running = new WeakMap<HTMLElement, AbortController>();

async function send(url: URL, method: string, headers: Headers, body: string | undefined, output: HTMLElement): Promise<void> {
  running.get(output)?.abort();
  const abort = new AbortController();
  running.set(output, abort);
  if (body !== undefined) headers.set("Content-Type", "application/json");
  const shown = element("pre", { tabindex: "0" });
  const status = element("p", {}, `${method} ${url.pathname}${url.search} …`);
  output.replaceChildren(status, shown);
  try {
    const response = await fetch(url, { method, headers, body: body ?? null, signal: abort.signal, cache: "no-store" });
    status.textContent = `${response.status} ${response.headers.get("Content-Type") ?? ""}`;
    await show(response, shown, abort);
  } catch (error) {
    if (!abort.signal.aborted) status.textContent = String(error);
  }
}

/** An answer that never ends, as that of /api/sse, is shown as it comes. */
async function show(response: globalThis.Response, shown: HTMLElement, abort: AbortController): Promise<void> {
  if (response.headers.get("Content-Type")?.includes("json")) {
    shown.textContent = JSON.stringify(await response.json(), null, 2).slice(0, MAX_SHOWN);
    return;
  }
  let text = "";
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  for (let read = await reader?.read(); read && !read.done; read = await reader?.read()) {
    text += read.value;
    shown.textContent = text.slice(0, MAX_SHOWN);
    if (text.length > MAX_SHOWN) return abort.abort();
  }
}

import "./docs.css";
import { type AsyncApi, load, type OpenApi, server } from "./documents.ts";
import { element } from "./elements.ts";
import { messages } from "./messages.ts";
import { requests } from "./requests.ts";

const link = (name: string): HTMLElement => element("a", { href: new URL(name, server).href }, name);

async function show(root: HTMLElement): Promise<void> {
  try {
    const [http, live] = await Promise.all([load<OpenApi>("openapi.json"), load<AsyncApi>("asyncapi.json")]);
    // Kept in the page alone: it is forgotten with the tab.
    const token = element("input", { type: "password", autocomplete: "off", placeholder: "none" });
    const getToken = (): string => token.value.trim();
    root.replaceChildren(
      element("h1", {}, `${http.info.title} ${http.info.version}`),
      element("p", {}, "For generators and tools: ", link("openapi.json"), " (OpenAPI 3.1), ", link("asyncapi.json"), " (AsyncAPI 3.0)."),
      element("label", { class: "token" }, element("span", {}, "Token"), token, element("small", {}, "Sent with every request from this page.")),
      requests(http, getToken),
      messages(live, getToken),
    );
  } catch (error) {
    root.replaceChildren(element("p", { role: "alert" }, `The descriptions cannot be loaded: ${String(error)}`));
  }
}

void show(document.getElementById("root")!);

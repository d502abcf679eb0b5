import { type AsyncApi, type Message, nameOf, server } from "./documents.ts";
import { element, fold, json, members, prose } from "./elements.ts";

/** How many messages the console keeps. */
const MAX_LINES = 200;

/** The messages of the WebSocket, and a console that opens one. */
export function messages(api: AsyncApi, getToken: () => string): HTMLElement {
  const named = (action: "send" | "receive"): Message[] => {
    const found = Object.values(api.operations).filter((operation) => operation.action === action && nameOf(operation.channel.$ref) === "websocket");
    return found.flatMap((operation) => operation.messages.map(({ $ref }) => api.components.messages[nameOf($ref)]!));
  };
  const commands = named("receive");
  const codes = Object.entries(api.channels.websocket["x-close-codes"]);
  return element(
    "section",
    {},
    element("h2", {}, "Messages"),
    webSocketConsole(commands, getToken),
    element("h3", {}, "From the server"),
    ...named("send").map((message) => messageFold(api, message, "from")),
    element("h3", {}, "From the client"),
    ...commands.map((message) => messageFold(api, message, "to")),
    element("h3", {}, "Close codes"),
    element("table", {}, ...codes.map(([code, reason]) => element("tr", {}, element("th", { scope: "row" }, code), element("td", {}, reason)))),
  );
}

function messageFold(api: AsyncApi, message: Message, direction: string): HTMLElement {
  const schema = api.components.schemas[nameOf(message.payload.$ref ?? "")];
  return fold(
    [element("code", {}, message.name), " ", prose(message.summary)],
    `${direction}-${message.title}`,
    schema && members(schema),
    ...message.examples.map((example) => json(example.payload)),
  );
}

/** Opens a WebSocket, shows what comes, newest first, and sends what is typed. */
function webSocketConsole(commands: readonly Message[], getToken: () => string): HTMLElement {
  let socket: WebSocket | undefined;
  const topics = element("input", { "aria-label": "topics", placeholder: "topics: by default those of the role" });
  const connect = element("button", { type: "button" }, "Connect");
  const choice = element("select", { "aria-label": "message" }, ...commands.map(({ examples }) => element("option", {}, JSON.stringify(examples[0]?.payload))));
  const text = element("input", { "aria-label": "text of the message", value: choice.value });
  const log = element("ol", { "aria-label": "messages", role: "log" });

  const print = (line: string): void => {
    log.prepend(element("li", {}, line));
    while (log.childElementCount > MAX_LINES) log.lastElementChild?.remove();
  };
  choice.addEventListener("change", () => (text.value = choice.value));
  connect.addEventListener("click", () => {
    if (socket) return socket.close();
    const url = new URL("api/ws", server);
    url.protocol = url.protocol.replace("http", "ws");
    if (topics.value !== "") url.searchParams.set("topics", topics.value);
    const token = getToken();
    const opened = (socket = token === "" ? new WebSocket(url) : new WebSocket(url, ["orderwire", `bearer.${token}`]));
    connect.textContent = "Disconnect";
    opened.onmessage = ({ data }) => print(`← ${data}`);
    opened.onclose = ({ code, reason }) => {
      print(`closed: ${code} ${reason}`);
      socket = undefined;
      connect.textContent = "Connect";
    };
  });
  const form = element("form", {}, topics, connect, choice, text, element("button", {}, "Send"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (socket?.readyState !== WebSocket.OPEN) return print("not connected");
    socket.send(text.value);
    print(`→ ${text.value}`);
  });
  return element("div", { class: "console" }, form, log);
}

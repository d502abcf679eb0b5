import { WebSocketService } from "./service.js";

export type { Transport } from "./connection.js";
export type { CloseInfo, ConnectionStatus } from "./connection-manager.js";
export {
  type Actor,
  type AnalyticsUpdate,
  type Authenticated,
  type ClientMessage,
  type ErrorMessage,
  isEvent,
  isIncluded,
  isNewer,
  isOrderEvent,
  type NewOrder,
  type OrderDelete,
  type OrderEvent,
  type OrderStatusUpdate,
  type OrderUpdate,
  type Ping,
  type Pong,
  type Resumed,
  type ServerMessage,
  type StreamEvent,
  type Subscribed,
} from "./messages.js";
export type { GetToken, Options, WebSocketConstructor, WebSocketLike } from "./options.js";
export { WebSocketService } from "./service.js";

/** The default instance, shared by the whole page. It does nothing before `connect()`. */
export const wsService = new WebSocketService();

import { WebSocketService } from "./service.js";

export type { Closing, Status } from "./core.js";
export {
  type AnalyticsUpdate,
  type Authenticated,
  type ClientFrame,
  type ErrorFrame,
  isNewer,
  isOrderEvent,
  type NewOrder,
  type OrderDelete,
  type OrderEvent,
  type OrderStatus,
  type OrderStatusUpdate,
  type OrderUpdate,
  type Ping,
  type Pong,
  type Resumed,
  type ServerFrame,
  type Subscribed,
} from "./frames.js";
export type { Transport } from "./line.js";
export { type GetToken, type Options, WebSocketService } from "./service.js";

/** One for the whole page. Nothing happens before `connect()`. */
export const wsService = new WebSocketService();

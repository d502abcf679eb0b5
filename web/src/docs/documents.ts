/** What the page reads of /openapi.json and /asyncapi.json. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  const?: string;
  enum?: string[];
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  oneOf?: Schema[];
}

export interface Content {
  schema: Schema;
  example?: unknown;
}

export interface Parameter {
  name: string;
  in: "path" | "query" | "header";
  required: boolean;
  description: string;
  example: unknown;
}

export interface Response {
  $ref?: string;
  description?: string;
  content?: Record<string, Content>;
}

export interface Operation {
  operationId: string;
  summary: string;
  description?: string;
  tags: string[];
  parameters?: Parameter[];
  requestBody?: { content: Record<string, Content> };
  responses: Record<string, Response>;
}

export interface OpenApi {
  info: { title: string; version: string; description: string };
  tags: { name: string; description: string }[];
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, Schema>; responses: Record<string, Response> };
}

export interface Message {
  name: string;
  title: string;
  summary: string;
  payload: Schema;
  examples: { payload: object }[];
}

export interface AsyncApi {
  channels: { websocket: { "x-close-codes": Record<string, string> } };
  operations: Record<string, { action: "send" | "receive"; channel: { $ref: string }; messages: { $ref: string }[] }>;
  components: { messages: Record<string, Message>; schemas: Record<string, Schema> };
}

/** The page is at /api/docs, below whatever prefix the server has. */
export const server = new URL("..", location.href);

export async function load<T>(name: string): Promise<T> {
  const response = await fetch(new URL(name, server));
  if (!response.ok) throw new Error(`${name}: the server answered ${response.status}`);
  return (await response.json()) as T;
}

/** The last part of a reference. */
export const nameOf = (reference: string): string => reference.slice(reference.lastIndexOf("/") + 1);

/** The type in a few words, for a table. */
export function typeText(schema: Schema): string {
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.oneOf) return schema.oneOf.map(typeText).join(" | ");
  if (schema.items) return schema.items.oneOf ? "event[]" : `${typeText(schema.items)}[]`;
  return Array.isArray(schema.type) ? schema.type.join(" | ") : (schema.type ?? "any");
}

import type { OrderStatus } from "@orderwire/client";
import type { Period } from "./state/summary.ts";
import { usePreferences, type Language } from "./preferences.ts";

const russian = new Intl.PluralRules("ru");

function plural(count: number, one: string, few: string, many: string): string {
  const form = russian.select(count);
  return form === "one" ? one : form === "few" ? few : many;
}

const number = { ru: new Intl.NumberFormat("ru"), en: new Intl.NumberFormat("en") };

const ru = {
  online: "Онлайн (Реальное время)",
  offline: "Офлайн",
  connecting: "подключение…",
  attempt: (n: number) => `попытка ${n}`,
  inSeconds: (n: number) => `через ${n} с`,
  now: "Сейчас",
  nowHint: "Подключиться сейчас",
  closed: (code: number) => `соединение закрыто (${code})`,
  overSse: "через Server-Sent Events",

  totalOrders: "Заказов",
  totalRevenue: "Выручка",
  pendingOrders: "Ожидают",
  inPeriod: (text: string, period: string) => `${text} ${period}`,
  ofAll: (percent: string) => `${percent} всех заказов`,

  newOrder: (orderNumber: string) => `Новый заказ #${orderNumber}`,
  newOrders: (n: number) => `${number.ru.format(n)} ${plural(n, "новый заказ", "новых заказа", "новых заказов")}`,
  latest: (orderNumber: string) => `последний #${orderNumber}`,
  dismiss: "Закрыть",
  toasts: "Новые заказы",

  overTime: "Заказы и выручка",
  periods: { "15m": "15 мин", "1h": "1 час", "24h": "24 часа" } satisfies Record<Period, string>,
  forPeriod: { "15m": "за 15 минут", "1h": "за час", "24h": "за сутки" } satisfies Record<Period, string>,
  period: "Период",
  orders: "Заказы",
  revenue: "Выручка",
  chartSays: (orders: string, revenue: string, period: string) => `График. ${period}: заказов ${orders}, выручка ${revenue}`,
  onlyLoaded: "показано по загруженным заказам",

  byStatus: "По статусам",
  allOrders: "все заказы",
  onlyThese: "Показать только их",
  latestOrders: (n: number) => `последние ${number.ru.format(n)} ${plural(n, "заказ", "заказа", "заказов")}`,

  status: {
    pending: "Ожидает",
    confirmed: "Подтверждён",
    preparing: "Готовится",
    ready: "Готов",
    delivering: "В доставке",
    delivered: "Доставлен",
    cancelled: "Отменён",
  } satisfies Record<OrderStatus, string>,
  anyStatus: "Любой статус",
  statusLabel: "Статус",
  search: "Номер или имя",
  searchLabel: "Поиск заказов",
  found: (n: number) => `${number.ru.format(n)} ${plural(n, "заказ", "заказа", "заказов")}`,
  columns: { number: "Номер", customer: "Клиент", total: "Сумма", status: "Статус", time: "Время" },
  loading: "Загрузка…",
  loadFailed: "Не удалось загрузить заказы. Пробуем ещё раз…",
  noOrders: "Заказов пока нет. Первый появится здесь сам.",
  nothingFound: "Ничего не найдено.",
  clearFilter: "Сбросить фильтр",
  toNewest: "К новым",
  onlyTotals: "Ваша роль показывает только итоги. Заказы и события видит администратор.",

  events: "События",
  live: "Сейчас",
  journal: "Журнал",
  noEvents: "Здесь появятся события.",
  created: "создан",
  changed: "изменён",
  deleted: "удалён",
  gap: "Здесь могли быть пропущены события; заказы загружены заново.",
  fromStart: "В начало",
  previous: "Назад",
  next: "Дальше",
  page: (n: number) => `стр. ${n}`,
  journalEnd: "Конец журнала",
  journalGone: "Эта часть журнала уже удалена. Начните сначала.",
  journalFailed: "Журнал не загрузился.",
  again: "Ещё раз",

  details: "Заказ",
  createdAt: "Создан",
  updatedAt: "Изменён",
  close: "Закрыть",
  history: "Последние события",
  wasDeleted: "Этот заказ удалён.",

  sound: "Звук",
  notifications: "Уведомления",
  notificationsDenied: "Уведомления запрещены в браузере",
  theme: { system: "Тема: как в системе", light: "Тема: светлая", dark: "Тема: тёмная" },
  otherLanguage: "EN: switch to English",
  keys: "Клавиши",
  keysHelp: {
    "/": "поиск",
    "↑ ↓": "по заказам",
    "PgUp PgDn Home End": "быстрее",
    "Enter": "открыть заказ",
    "Esc": "сбросить фильтр, закрыть",
    "?": "эта справка",
  },
  signOut: "Выйти",

  signIn: "Вход",
  signInHelp: "Этот сервер пускает по токену. Вставьте его сюда; он хранится, пока открыта вкладка.",
  token: "Токен",
  enter: "Войти",
  refused: "Токен не подошёл или истёк.",
};

export type Words = typeof ru;

const en: Words = {
  online: "Online (Live)",
  offline: "Offline",
  connecting: "connecting…",
  attempt: (n) => `attempt ${n}`,
  inSeconds: (n) => `in ${n} s`,
  now: "Now",
  nowHint: "Connect now",
  closed: (code) => `connection closed (${code})`,
  overSse: "over Server-Sent Events",

  totalOrders: "Orders",
  totalRevenue: "Revenue",
  pendingOrders: "Pending",
  inPeriod: (text, period) => `${text} ${period}`,
  ofAll: (percent) => `${percent} of all orders`,

  newOrder: (orderNumber) => `New order #${orderNumber}`,
  newOrders: (n) => `${number.en.format(n)} new orders`,
  latest: (orderNumber) => `latest #${orderNumber}`,
  dismiss: "Dismiss",
  toasts: "New orders",

  overTime: "Orders and revenue",
  periods: { "15m": "15 min", "1h": "1 hour", "24h": "24 hours" },
  forPeriod: { "15m": "in 15 minutes", "1h": "in the last hour", "24h": "in 24 hours" },
  period: "Period",
  orders: "Orders",
  revenue: "Revenue",
  chartSays: (orders, revenue, period) => `Chart. ${orders} orders, revenue ${revenue} ${period}`,
  onlyLoaded: "as far as orders are loaded",

  byStatus: "By status",
  allOrders: "all orders",
  onlyThese: "Show only these",
  latestOrders: (n) => `latest ${number.en.format(n)} orders`,

  status: {
    pending: "Pending",
    confirmed: "Confirmed",
    preparing: "Preparing",
    ready: "Ready",
    delivering: "Delivering",
    delivered: "Delivered",
    cancelled: "Cancelled",
  },
  anyStatus: "Any status",
  statusLabel: "Status",
  search: "Number or name",
  searchLabel: "Search orders",
  found: (n) => `${number.en.format(n)} ${n === 1 ? "order" : "orders"}`,
  columns: { number: "Number", customer: "Customer", total: "Total", status: "Status", time: "Time" },
  loading: "Loading…",
  loadFailed: "The orders could not be loaded. Trying again…",
  noOrders: "No orders yet. The first one will appear here by itself.",
  nothingFound: "Nothing found.",
  clearFilter: "Clear the filter",
  toNewest: "To the newest",
  onlyTotals: "Your role shows totals only. Orders and events are for administrators.",

  events: "Events",
  live: "Live",
  journal: "Journal",
  noEvents: "Events will appear here.",
  created: "created",
  changed: "changed",
  deleted: "deleted",
  gap: "Events may be missing here; the orders were loaded anew.",
  fromStart: "To the start",
  previous: "Back",
  next: "Next",
  page: (n) => `page ${n}`,
  journalEnd: "End of the journal",
  journalGone: "This part of the journal is gone. Start anew.",
  journalFailed: "The journal could not be loaded.",
  again: "Again",

  details: "Order",
  createdAt: "Created",
  updatedAt: "Changed",
  close: "Close",
  history: "Latest events",
  wasDeleted: "This order was deleted.",

  sound: "Sound",
  notifications: "Notifications",
  notificationsDenied: "Notifications are denied in the browser",
  theme: { system: "Theme: as in the system", light: "Theme: light", dark: "Theme: dark" },
  otherLanguage: "RU: переключить на русский",
  keys: "Keys",
  keysHelp: {
    "/": "search",
    "↑ ↓": "through the orders",
    "PgUp PgDn Home End": "faster",
    "Enter": "open the order",
    "Esc": "clear the filter, close",
    "?": "this help",
  },
  signOut: "Sign out",

  signIn: "Sign in",
  signInHelp: "This server lets you in with a token. Paste it here; it is kept while the tab is open.",
  token: "Token",
  enter: "Enter",
  refused: "The token was not accepted, or it has run out.",
};

const all: Record<Language, Words> = { ru, en };

export function words(language: Language): Words {
  return all[language];
}

export function useWords(): Words {
  return all[usePreferences().language];
}

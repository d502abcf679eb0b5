import type { Period } from "./periods.ts";
import { usePreferences, type Language } from "./preferences.ts";

const russianPluralRules = new Intl.PluralRules("ru");

function russianPlural(count: number, one: string, few: string, many: string): string {
  const form = russianPluralRules.select(count);
  return form === "one" ? one : form === "few" ? few : many;
}

const numberFormat = { ru: new Intl.NumberFormat("ru"), en: new Intl.NumberFormat("en") };

const ru = {
  online: "Онлайн (Реальное время)",
  offline: "Офлайн",
  connecting: "подключение…",
  attempt: (n: number) => `попытка ${n}`,
  inSeconds: (n: number) => `через ${n} с`,
  retryNow: "Сейчас",
  retryNowHint: "Подключиться сейчас",
  closed: (code: number) => `соединение закрыто (${code})`,
  overSse: "через Server-Sent Events",

  totalOrders: "Заказов",
  totalRevenue: "Выручка",
  pendingOrders: "Ожидают",
  percentOfOrders: (percent: string) => `${percent} всех заказов`,

  newOrder: (orderNumber: string) => `Новый заказ #${orderNumber}`,
  newOrders: (n: number) => `${numberFormat.ru.format(n)} ${russianPlural(n, "новый заказ", "новых заказа", "новых заказов")}`,
  latestOrder: (orderNumber: string) => `последний #${orderNumber}`,
  dismiss: "Закрыть",
  toasts: "Новые заказы",

  ordersOverTime: "Заказы и выручка",
  periods: { "15m": "15 мин", "1h": "1 час", "24h": "24 часа" } satisfies Record<Period, string>,
  forPeriod: { "15m": "за 15 минут", "1h": "за час", "24h": "за сутки" } satisfies Record<Period, string>,
  period: "Период",
  orders: "Заказы",
  revenue: "Выручка",
  chartLabel: (orders: string, revenue: string, period: string) => `График. ${period}: заказов ${orders}, выручка ${revenue}`,
  onlyLoadedOrders: "показано по загруженным заказам",

  byStatus: "По статусам",
  allOrders: "все заказы",
  filterByStatus: "Показать только их",
  latestOrders: (n: number) => `последние ${numberFormat.ru.format(n)} ${russianPlural(n, "заказ", "заказа", "заказов")}`,

  status: {
    pending: "Ожидает",
    confirmed: "Подтверждён",
    preparing: "Готовится",
    ready: "Готов",
    delivering: "В доставке",
    delivered: "Доставлен",
    cancelled: "Отменён",
  },
  noStatus: "Без статуса",
  anyStatus: "Любой статус",
  statusLabel: "Статус",
  searchPlaceholder: "Номер или имя",
  searchLabel: "Поиск заказов",
  foundOrders: (n: number) => `${numberFormat.ru.format(n)} ${russianPlural(n, "заказ", "заказа", "заказов")}`,
  columns: { number: "Номер", customer: "Клиент", total: "Сумма", status: "Статус", time: "Время" },
  loading: "Загрузка…",
  loadFailed: "Не удалось загрузить заказы. Пробуем ещё раз…",
  noOrders: "Заказов пока нет. Первый появится здесь сам.",
  nothingFound: "Ничего не найдено.",
  clearFilter: "Сбросить фильтр",
  scrollToNewest: "К новым",
  totalsOnly: "Ваша роль показывает только итоги. Заказы и события видит администратор.",
  noTable: "Таблица заказов ещё не подключена. Эта команда покажет подходящие таблицы и подключит одну из них:",

  events: "События",
  liveEvents: "Сейчас",
  eventLog: "Журнал",
  noEvents: "Здесь появятся события.",
  eventCreated: "создан",
  eventChanged: "изменён",
  eventDeleted: "удалён",
  changedBy: (name: string) => `кто: ${name}`,
  gapMarker: "Здесь могли быть пропущены события; заказы загружены заново.",
  toFirstPage: "В начало",
  previousPage: "Назад",
  nextPage: "Дальше",
  pageNumber: (n: number) => `стр. ${n}`,
  endOfLog: "Конец журнала",
  logGone: "Эта часть журнала уже удалена. Начните сначала.",
  logFailed: "Журнал не загрузился.",
  retry: "Ещё раз",

  order: "Заказ",
  createdAt: "Создан",
  key: "Ключ",
  truncated: "Показано не целиком.",
  close: "Закрыть",
  latestEvents: "Последние события",
  orderDeleted: "Этот заказ удалён.",

  sound: "Звук",
  notifications: "Уведомления",
  notificationsDenied: "Уведомления запрещены в браузере",
  theme: { system: "Тема: как в системе", light: "Тема: светлая", dark: "Тема: тёмная" },
  switchLanguage: "EN: switch to English",
  shortcuts: "Клавиши",
  shortcutDescriptions: {
    "/": "поиск",
    "↑ ↓": "по заказам",
    "PgUp PgDn Home End": "быстрее",
    "Enter": "открыть заказ",
    "Esc": "сбросить фильтр, закрыть",
    "?": "эта справка",
  },
  signOut: "Выйти",

  signInHelp: "Этот сервер пускает по токену. Вставьте его сюда; он хранится, пока открыта вкладка.",
  token: "Токен",
  submitToken: "Войти",
  tokenRejected: "Токен не подошёл или истёк.",
};

export type Translations = typeof ru;

const en: Translations = {
  online: "Online (Live)",
  offline: "Offline",
  connecting: "connecting…",
  attempt: (n) => `attempt ${n}`,
  inSeconds: (n) => `in ${n} s`,
  retryNow: "Now",
  retryNowHint: "Connect now",
  closed: (code) => `connection closed (${code})`,
  overSse: "over Server-Sent Events",

  totalOrders: "Orders",
  totalRevenue: "Revenue",
  pendingOrders: "Pending",
  percentOfOrders: (percent) => `${percent} of all orders`,

  newOrder: (orderNumber) => `New order #${orderNumber}`,
  newOrders: (n) => `${numberFormat.en.format(n)} new orders`,
  latestOrder: (orderNumber) => `latest #${orderNumber}`,
  dismiss: "Dismiss",
  toasts: "New orders",

  ordersOverTime: "Orders and revenue",
  periods: { "15m": "15 min", "1h": "1 hour", "24h": "24 hours" },
  forPeriod: { "15m": "in 15 minutes", "1h": "in the last hour", "24h": "in 24 hours" },
  period: "Period",
  orders: "Orders",
  revenue: "Revenue",
  chartLabel: (orders, revenue, period) => `Chart. ${orders} orders, revenue ${revenue} ${period}`,
  onlyLoadedOrders: "as far as orders are loaded",

  byStatus: "By status",
  allOrders: "all orders",
  filterByStatus: "Show only these",
  latestOrders: (n) => `latest ${numberFormat.en.format(n)} orders`,

  status: {
    pending: "Pending",
    confirmed: "Confirmed",
    preparing: "Preparing",
    ready: "Ready",
    delivering: "Delivering",
    delivered: "Delivered",
    cancelled: "Cancelled",
  },
  noStatus: "No status",
  anyStatus: "Any status",
  statusLabel: "Status",
  searchPlaceholder: "Number or name",
  searchLabel: "Search orders",
  foundOrders: (n) => `${numberFormat.en.format(n)} ${n === 1 ? "order" : "orders"}`,
  columns: { number: "Number", customer: "Customer", total: "Total", status: "Status", time: "Time" },
  loading: "Loading…",
  loadFailed: "The orders could not be loaded. Trying again…",
  noOrders: "No orders yet. The first one will appear here by itself.",
  nothingFound: "Nothing found.",
  clearFilter: "Clear the filter",
  scrollToNewest: "To the newest",
  totalsOnly: "Your role shows totals only. Orders and events are for administrators.",
  noTable: "No table of orders is attached yet. This command lists the tables that fit, and attaches one:",

  events: "Events",
  liveEvents: "Live",
  eventLog: "Journal",
  noEvents: "Events will appear here.",
  eventCreated: "created",
  eventChanged: "changed",
  eventDeleted: "deleted",
  changedBy: (name) => `by ${name}`,
  gapMarker: "Events may be missing here; the orders were loaded anew.",
  toFirstPage: "To the start",
  previousPage: "Back",
  nextPage: "Next",
  pageNumber: (n) => `page ${n}`,
  endOfLog: "End of the journal",
  logGone: "This part of the journal is gone. Start anew.",
  logFailed: "The journal could not be loaded.",
  retry: "Again",

  order: "Order",
  createdAt: "Created",
  key: "Key",
  truncated: "Shown in part.",
  close: "Close",
  latestEvents: "Latest events",
  orderDeleted: "This order was deleted.",

  sound: "Sound",
  notifications: "Notifications",
  notificationsDenied: "Notifications are denied in the browser",
  theme: { system: "Theme: as in the system", light: "Theme: light", dark: "Theme: dark" },
  switchLanguage: "RU: переключить на русский",
  shortcuts: "Keys",
  shortcutDescriptions: {
    "/": "search",
    "↑ ↓": "through the orders",
    "PgUp PgDn Home End": "faster",
    "Enter": "open the order",
    "Esc": "clear the filter, close",
    "?": "this help",
  },
  signOut: "Sign out",

  signInHelp: "This server lets you in with a token. Paste it here; it is kept while the tab is open.",
  token: "Token",
  submitToken: "Enter",
  tokenRejected: "The token was not accepted, or it has run out.",
};

const byLanguage: Record<Language, Translations> = { ru, en };

export function translations(language: Language): Translations {
  return byLanguage[language];
}

export function useTranslations(): Translations {
  return byLanguage[usePreferences().language];
}

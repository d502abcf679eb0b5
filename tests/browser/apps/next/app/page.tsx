import { LiveOrders } from "./LiveOrders";

export default function Page() {
  return <LiveOrders />;
}

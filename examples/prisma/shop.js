// Places an order and pays for it: DATABASE_URL=… node shop.js. Prints the order's id.
import { PrismaPg } from "@prisma/adapter-pg";
import { PrismaClient } from "@prisma/client";

const prisma = new PrismaClient({ adapter: new PrismaPg({ connectionString: process.env.DATABASE_URL }) });
const user = { create: { email: "anna@shop.example", name: "Anna" } };
const order = await prisma.order.create({ data: { totalAmount: "12.50", user } });
await prisma.order.update({ where: { id: order.id }, data: { status: "PAID" } });
console.log(order.id);
await prisma.$disconnect();

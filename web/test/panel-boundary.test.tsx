import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { PanelBoundary } from "../src/ui/PanelBoundary.tsx";

afterEach(cleanup);

test("a panel that cannot be drawn says so, the others stay, and it can be tried again", () => {
  vi.spyOn(console, "error").mockImplementation(() => {});
  let broken = true;
  const Panel = () => {
    if (broken) throw new RangeError("date value is not finite");
    return <p>fine</p>;
  };
  render(
    <>
      <PanelBoundary className="chart">
        <Panel />
      </PanelBoundary>
      <p>other</p>
    </>,
  );
  expect(screen.getByRole("alert").closest(".panel-failed.chart")).not.toBeNull();
  expect(screen.getByText("other")).toBeDefined();
  broken = false;
  fireEvent.click(screen.getByRole("button"));
  expect(screen.getByText("fine")).toBeDefined();
});
